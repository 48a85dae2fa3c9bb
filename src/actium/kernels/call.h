/* From tensors to kernels and back to tensors: what the compiled front door calls, and with what.
 *
 * Stage: front -> [call] -> kernel. In: operands that front.cpp found to be plain, and the addresses of kernels. Out:
 * results. Nothing here knows what a kernel computes, nor of autograd's graph.
 */
#ifndef ACTIUM_CALL_H
#define ACTIUM_CALL_H

#include <Python.h>

#include "recycling.h"

#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/util/strides.h>

#include <array>
#include <memory>
#include <vector>

namespace {

constexpr int kFreshOutput = 1, kDtypes = 3;
constexpr int64_t kSerial = 1 << 15; /* dispatch.SERIAL: below, a second thread costs more than it saves */

/* What a call takes: one tensor, two of one shape, or one whose halves along a dimension are those two. */
enum Kind { kOne, kTwo, kHalves, kKinds };

/* The kernels of each kind: inputs, (the incoming gradient,) outputs, sizes, parameters, threads, flags. An output that
 * is null is not computed. Those of halves take the distances between rows, and where sums go; there are none here. */
using In = const void*;
using OneForward = void (*)(In, void*, int64_t, const float*, int, int);
using OneBackward = void (*)(In, In, void*, int64_t, const float*, int, int);
using TwoForward = void (*)(In, In, void*, int64_t, const float*, int, int);
using TwoBackward = void (*)(In, In, In, void*, void*, int64_t, const float*, int, int);
using HalvesForward = int (*)(In, In, void*, int64_t, int64_t, const int64_t*, const float*, double*, int, int);
using HalvesBackward = int (*)(In, In, In, void*, void*, int64_t, int64_t, const int64_t*, const float*, double*, int, int);

struct Kernels {
  void* forward = nullptr;
  void* backward = nullptr;
};

/* One activation or gated unit with numbers as parameters. */
struct Call {
  Kind kind = kOne;
  std::array<Kernels, kDtypes> kernels;
  std::vector<float> values;
  PyObject* gradient = nullptr; /* (inputs, grad, wanted) -> gradients, for everything that is not plain */
  ~Call() {
    /* The last node may go on a thread of autograd, or after the interpreter. */
    if (gradient == nullptr || !Py_IsInitialized()) return;
    PyGILState_STATE state = PyGILState_Ensure();
    Py_DECREF(gradient);
    PyGILState_Release(state);
  }
};

int dtype_index(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return 0;
    case at::kBFloat16: return 1;
    case at::kHalf: return 2;
    default: return -1;
  }
}

int threads_for(int64_t count) {
  if (count < kSerial) return 1;
  return static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), count / (kSerial / 2))));
}

at::Tensor fresh(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype, size_t bytes) {
  auto& recycler = actium::Recycler::instance();
  if (!recycler.takes(bytes)) return at::Tensor(at::detail::empty_strided_cpu(sizes, strides, dtype, false));
  constexpr c10::DispatchKeySet keys(c10::DispatchKey::CPU);
  return at::Tensor(at::detail::empty_strided_generic(sizes, strides, &recycler, keys, dtype));
}

at::Tensor fresh_like(const at::Tensor& x) { return fresh(x.sizes(), x.strides(), x.scalar_type(), x.nbytes()); }

/* What is recycled has its huge pages already. */
int flags_for(const at::Tensor& result) {
  return actium::Recycler::instance().takes(result.nbytes()) ? 0 : kFreshOutput;
}

/* The tensors of one call. A contiguous tensor whose dimension `dim` is halved is (outer, 2, inner) in memory. */
struct Operands {
  std::array<at::Tensor, 2> x;
  int64_t dim = -1;
  bool gate_first = true;

  size_t count() const { return x[1].defined() ? 2 : 1; }
  int64_t inner() const { return x[0].stride(dim) * (x[0].size(dim) / 2); }

  at::DimVector sizes() const {
    at::DimVector made(x[0].sizes());
    if (dim >= 0) made[static_cast<size_t>(dim)] /= 2;
    return made;
  }
  at::Tensor output() const {
    if (dim < 0) return fresh_like(x[0]);
    const at::DimVector shape = sizes();
    return fresh(shape, c10::contiguous_strides(at::IntArrayRef(shape)), x[0].scalar_type(), x[0].nbytes() / 2);
  }
  /* The halves of data in the order of the kernel's arguments. */
  std::array<char*, 2> halves(const void* data) const {
    char* const first = static_cast<char*>(const_cast<void*>(data)); /* an input's are only read */
    char* const second = first + static_cast<size_t>(inner()) * x[0].element_size();
    return gate_first ? std::array{first, second} : std::array{second, first};
  }
};

void forward(const Call& call, const Operands& in, const at::Tensor& y) {
  const at::Tensor& x = in.x[0];
  void* const kernel = call.kernels[static_cast<size_t>(dtype_index(x.scalar_type()))].forward;
  const int64_t count = y.numel();
  const int threads = threads_for(count), flags = flags_for(y);
  const float* const p = call.values.data();
  if (call.kind == kOne) {
    reinterpret_cast<OneForward>(kernel)(x.const_data_ptr(), y.data_ptr(), count, p, threads, flags);
  } else if (call.kind == kTwo) {
    reinterpret_cast<TwoForward>(kernel)(x.const_data_ptr(), in.x[1].const_data_ptr(), y.data_ptr(), count, p, threads,
                                         flags);
  } else {
    const int64_t inner = in.inner(), steps[] = {2 * inner, 2 * inner, inner};
    const auto half = in.halves(x.const_data_ptr());
    reinterpret_cast<HalvesForward>(kernel)(half[0], half[1], y.data_ptr(), count / inner, inner, steps, p, nullptr,
                                            threads, flags);
  }
}

void backward(const Call& call, const Operands& in, const at::Tensor& grad, const std::vector<at::Tensor>& to) {
  const at::Tensor& x = in.x[0];
  void* const kernel = call.kernels[static_cast<size_t>(dtype_index(x.scalar_type()))].backward;
  const auto address = [](const at::Tensor& t) { return t.defined() ? t.data_ptr() : nullptr; };
  const int64_t count = grad.numel();
  const int threads = threads_for(count), flags = flags_for(to[0].defined() ? to[0] : to[1]);
  const float* const p = call.values.data();
  if (call.kind == kOne) {
    reinterpret_cast<OneBackward>(kernel)(x.const_data_ptr(), grad.const_data_ptr(), to[0].data_ptr(), count, p, threads,
                                          flags);
  } else if (call.kind == kTwo) {
    reinterpret_cast<TwoBackward>(kernel)(x.const_data_ptr(), in.x[1].const_data_ptr(), grad.const_data_ptr(),
                                          address(to[0]), address(to[1]), count, p, threads, flags);
  } else {
    const int64_t inner = in.inner(), steps[] = {2 * inner, 2 * inner, inner, 2 * inner, 2 * inner};
    const auto half = in.halves(x.const_data_ptr()), result = in.halves(to[0].data_ptr());
    reinterpret_cast<HalvesBackward>(kernel)(half[0], half[1], grad.const_data_ptr(), result[0], result[1],
                                             count / inner, inner, steps, p, nullptr, threads, flags);
  }
}

} // namespace

#endif
