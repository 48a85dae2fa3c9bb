/* The memory of large results, handed on to the next one instead of back to the system.
 *
 * Stage: front -> [recycling] -> memory. In: a number of bytes. Out: memory with arbitrary contents, and a deleter.
 *
 * A fresh block costs a page fault for every page and a pass of zeroes over all of it, by the system: as much memory
 * traffic as the result itself. Training asks for the same sizes in every step, so what was freed is kept, up to a
 * limit, for the next result of about that size. The pages of a block that has been idle for a second are offered to the
 * system (MADV_FREE) when the next one is taken or kept: under memory pressure they are free memory.
 */
#ifndef ACTIUM_RECYCLING_H
#define ACTIUM_RECYCLING_H

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

namespace actium {

struct Block {
  void* data;
  size_t bytes;
};

struct Idle {
  Block block;
  std::chrono::steady_clock::time_point since;
  bool offered; /* to the system */
};

class Recycler final : public c10::Allocator {
 public:
  /* Smaller ones are better off in the heap, which keeps them itself. */
  static constexpr size_t kLeast = size_t{1} << 20;

  /* Never destroyed: tensors may outlive every other object of the process. */
  static Recycler& instance() {
    static Recycler* const made = new Recycler(limit_of(std::getenv("ACTIUM_KEEP_MIB")));
    return *made;
  }

  bool takes(size_t bytes) const { return bytes >= kLeast && bytes <= limit_; }
  size_t limit() const { return limit_; }

  size_t kept() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return kept_;
  }

  c10::DataPtr allocate(size_t bytes) override {
    auto block = std::make_unique<Block>(take(bytes));
    void* const data = block->data;
    c10::profiledCPUMemoryReporter().New(data, block->bytes);
    return {data, block.release(), &give_back, c10::Device(c10::DeviceType::CPU)};
  }

  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

 private:
  static constexpr size_t kHugePage = size_t{2} << 20, kDefaultMiB = 128;
  /* Offering 64 MiB takes 0.8 ms, a third of a kernel over as much: what a training step uses in turn is left alone. */
  static constexpr std::chrono::seconds kPatience{1};

  explicit Recycler(size_t limit) : limit_(limit) {}

  static size_t limit_of(const char* text) {
    char* end = nullptr;
    const unsigned long long number = text == nullptr ? 0 : std::strtoull(text, &end, 10);
    const bool good = text != nullptr && end != text && *end == '\0' && *text != '-' && number < (size_t{1} << 40);
    return (good ? static_cast<size_t>(number) : kDefaultMiB) << 20;
  }

  /* Where the lock is taken, by another thread or by one that a fork left behind, there is no recycling. */
  Block take(size_t bytes) {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) return fresh(bytes);
    offer();
    auto best = idle_.end();
    for (auto at = idle_.begin(); at != idle_.end(); ++at) {
      const bool fits = at->block.bytes >= bytes && at->block.bytes - bytes <= bytes / 8;
      if (fits && (best == idle_.end() || at->block.bytes <= best->block.bytes)) best = at;
    }
    if (best == idle_.end()) return fresh(bytes);
    const Block found = best->block;
    idle_.erase(best);
    kept_ -= found.bytes;
    return found;
  }

  static void give_back(void* context) {
    const std::unique_ptr<Block> block(static_cast<Block*>(context));
    c10::profiledCPUMemoryReporter().Delete(block->data);
    instance().keep(*block);
  }

  void keep(Block block) {
    const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || !takes(block.bytes)) return release(block); /* one that was resized may have any size */
    idle_.push_back({block, std::chrono::steady_clock::now(), false});
    kept_ += block.bytes;
    while (kept_ > limit_) {
      kept_ -= idle_.front().block.bytes;
      release(idle_.front().block);
      idle_.erase(idle_.begin());
    }
    offer();
  }

  /* The oldest are the first, and the first have been offered before. */
  void offer() {
#if defined(MADV_FREE)
    const auto now = std::chrono::steady_clock::now();
    for (Idle& idle : idle_) {
      if (now - idle.since < kPatience) break;
      if (!idle.offered) madvise(idle.block.data, idle.block.bytes, MADV_FREE);
      idle.offered = true;
    }
#endif
  }

  /* From mmap rather than malloc: a block has its own huge pages, and all of it goes back when it is released. */
  static Block fresh(size_t bytes) {
    static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const Block block{nullptr, (bytes + page - 1) / page * page};
    const size_t room = block.bytes + kHugePage;
    void* const got = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) throw std::bad_alloc();
    const auto start = reinterpret_cast<uintptr_t>(got), data = (start + kHugePage - 1) / kHugePage * kHugePage;
    if (data > start) munmap(got, data - start);
    if (const size_t behind = start + room - (data + block.bytes))
      munmap(reinterpret_cast<void*>(data + block.bytes), behind);
#if defined(MADV_HUGEPAGE)
    madvise(reinterpret_cast<void*>(data), block.bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
    return {reinterpret_cast<void*>(data), block.bytes};
  }

  static void release(Block block) { munmap(block.data, block.bytes); }

  const size_t limit_;
  std::mutex mutex_;
  std::vector<Idle> idle_; /* the oldest first */
  size_t kept_ = 0;
};

} // namespace actium

#endif
