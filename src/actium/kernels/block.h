/* What every generated kernel shares: blocks, huge pages, deterministic sums, per-channel parameters.
 *
 * A kernel walks its tensors in blocks of ACT_LANES elements: widen to float, compute, round once. All sums go
 * through one fixed tree, so that they do not depend on the number of threads.
 */
#ifndef ACTIUM_BLOCK_H
#define ACTIUM_BLOCK_H

#include "halves.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { ACT_LANES = 512, ACT_TASKS = 64, ACT_LEAST_TASK = 1 << 14 };
enum { ACT_FRESH_OUTPUT = 1, ACT_ONE_GRADIENT = 2, ACT_FAR = 4 };

/* Two huge pages: a smaller tensor has hardly a whole one inside. */
#define ACT_LARGE ((size_t)4 << 20)

/* A fresh 32 MiB output costs 8,192 page faults with 4 KiB pages and 16 with huge ones; a forward and backward of
 * silu took 31 ms with the one and 13 ms with the other. Only whole pages inside the tensor are advised; a system
 * without huge pages ignores the advice. */
static inline void act_prepare_output(void *data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const uintptr_t page = 4096;
  if (bytes < ACT_LARGE) return;
  uintptr_t first = ((uintptr_t)data + page - 1) & ~(page - 1), last = ((uintptr_t)data + bytes) & ~(page - 1);
  madvise((void *)first, last - first, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

/* An output that no cache will hold is written around them, for an ordinary store reads each line before it changes it.
 * Where a block takes long to compute, what is read next is asked for two blocks ahead: the processor does not look as far.
 * By benchmarks/far.py, forward and backward of 2^23 elements take 8 to 20 % less time that way, and more with vectors of
 * 512 bits; without those, float32 functions with exponentials take as long or longer, and are left out (kernels/cpu.py). */
#define ACT_FAR_BYTES ((size_t)16 << 20)
static inline int act_distance(const void *data, size_t bytes) {
#if defined(__AVX__)
  if (bytes >= ACT_FAR_BYTES && ((uintptr_t)data & 31) == 0) return ACT_FAR;
#endif
  (void)data, (void)bytes;
  return 0;
}
/* Whether every piece of a row begins where whole vectors do. */
static inline int act_whole(int64_t length, int64_t pieces, size_t size) {
  return (size_t)length * size % 32 == 0 && (size_t)((length + pieces - 1) / pieces) * size % 32 == 0;
}
static inline void act_write_far(void *to, const void *from, size_t bytes) {
  size_t done = 0;
#if defined(__AVX__)
  typedef float eight __attribute__((vector_size(32)));
  for (; done + 32 <= bytes; done += 32) {
    const eight *next = (const eight *)((const char *)from + done);
#if __has_builtin(__builtin_ia32_movntps256) /* gcc's; the other one is clang's */
    __builtin_ia32_movntps256((float *)((char *)to + done), *next);
#else
    __builtin_nontemporal_store(*next, (eight *)((char *)to + done));
#endif
  }
#endif
  memcpy((char *)to + done, (const char *)from + done, bytes - done);
}
/* Before anyone is told that it has been written. */
static inline void act_far_written(void) {
#if defined(__AVX__)
  __builtin_ia32_sfence();
#endif
}
static inline void act_read_soon(const void *data, size_t bytes) {
  for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)data + at);
}

/* Tasks shared out among threads: each has a run of its own, so that forward and backward meet the same elements in the
 * same core's cache, and takes it in pieces; who is done helps the next few. Cores are not equally fast (two kinds of
 * core, other processes, a hypervisor), and without help a pass takes as long as the slowest. */
enum { ACT_PIECE = 16, ACT_HELPED = 8 };
typedef struct {
  _Alignas(64) int64_t next;
  int64_t end;
} act_share;
typedef struct {
  int64_t from, to;
  int thread, helped;
} act_piece;

static inline void act_share_out(act_share *shares, int64_t tasks, int threads) {
  for (int t = 0; t < threads; t++) {
    shares[t].next = tasks * t / threads;
    shares[t].end = tasks * (t + 1) / threads;
  }
}

/* The next tasks for piece->thread; 0 if there are none. */
static inline int act_take(act_share *shares, int threads, int64_t size, act_piece *piece) {
  for (; piece->helped < threads && piece->helped <= ACT_HELPED; piece->helped++) {
    act_share *share = &shares[(piece->thread + piece->helped) % threads];
    if (__atomic_load_n(&share->next, __ATOMIC_RELAXED) >= share->end) continue;
    piece->from = __atomic_fetch_add(&share->next, size, __ATOMIC_RELAXED);
    if (piece->from >= share->end) continue;
    piece->to = piece->from + size < share->end ? piece->from + size : share->end;
    return 1;
  }
  return 0;
}

/* A copy in a room that is larger than it; zeros behind it. */
static inline const void *act_padded(void *room, const void *from, size_t bytes, size_t size) {
  memset(room, 0, size);
  return memcpy(room, from, bytes);
}

/* How many of the elements left in a row are the next block. Of halves so many that whole vectors fit, of any processor's:
 * what is behind them is copied to where there is room for a vector. */
static inline int act_block(int64_t left, int halves) {
  if (left >= ACT_LANES) return ACT_LANES;
  return (int)(halves && left > 32 ? left / 32 * 32 : left);
}

/* The larger one in absolute value, as bits: they are in the order of the numbers, and NaN is above all of them. */
ACT_FN int act_larger(int most, float x) {
  const int bits = act_bits_(__builtin_fabsf(x));
  return bits > most ? bits : most;
}
/* The largest of what act_larger has found, as a number. */
static inline float act_largest(const int *most) {
  int largest = 0;
  for (int j = 0; j < ACT_WIDE; j++) largest = most[j] > largest ? most[j] : largest;
  return act_float_(largest);
}

/* Where element i is among those of bfloat16 that act_widen_bf16 took apart. */
static inline int64_t act_apart(int64_t i) {
  const int64_t j = i % ACT_WIDE;
  return i - j + j / 2 + (j & 1) * (ACT_WIDE / 2);
}
/* ACT_WIDE such terms in the order of the elements. */
static inline void act_in_order(float *terms) {
  float apart[ACT_WIDE];
  memcpy(apart, terms, sizeof apart);
  for (int j = 0; j < ACT_WIDE; j++) terms[j] = apart[act_apart(j)];
}

/* Makes 0 of the terms of padding, which is of zeros and has terms of its own: -inf where a logarithm is. */
static inline void act_forget(float *terms, int m, int w, int apart) {
  for (int i = m; i < w; i++) terms[apart ? act_apart(i) : i] = 0.0f;
}
/* Adds the first n of ACT_LANES terms to ACT_SUMS sums: pairwise in float down to as many, then in double, always in this
 * order. Where few are left the first steps would only add zeros. */
enum { ACT_SUMS = 16 };
static inline void act_tree_add(double *sums, float *terms, int n) {
  int first = ACT_LANES / 2;
  while (first >= ACT_SUMS && n <= first) first /= 2;
  for (int i = n; i < 2 * first; i++) terms[i] = 0.0f;
  for (int width = first; width >= ACT_SUMS; width /= 2) {
    float *above = terms + width;
#pragma GCC ivdep
    for (int i = 0; i < width; i++) terms[i] += above[i];
  }
  for (int i = 0; i < ACT_SUMS; i++) sums[i] += (double)terms[i];
}
static inline double act_sum_up(double *sums) {
  for (int i = 0; i < 8; i++) sums[i] += sums[i + 8];
  for (int i = 0; i < 4; i++) sums[i] += sums[i + 4];
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

/* How many rows one task has; depends on the shape alone. A task's sums take a pass over as much as one row. */
static inline int64_t act_rows_per_task(int64_t rows, int64_t row_length, int64_t sums) {
  int64_t tasks = ACT_TASKS, limit = ((int64_t)4 << 20) / (row_length * (sums ? sums : 1) + 1);
  if (sums && tasks > limit) tasks = limit;
  if (tasks > rows * row_length / ACT_LEAST_TASK) tasks = rows * row_length / ACT_LEAST_TASK;
  if (tasks < 1) tasks = 1;
  int64_t per_task = (rows + tasks - 1) / tasks;
  return per_task < 1 ? 1 : per_task;
}

/* Adds up what the pieces of rows have found, to each row's channel. */
static inline void act_gather_sums(double *sums, const double *parts, int64_t count, int64_t rows, int64_t pieces,
                                   int64_t channels) {
  for (int64_t row = 0, c = 0; row < rows; row++, c = c + 1 < channels ? c + 1 : 0)
    for (int64_t piece = 0; piece < pieces; piece++, parts += count)
      for (int64_t k = 0; k < count; k++) sums[k * channels + c] += parts[k];
}
/* How many times a period has all `once` elements: some 256 of them, or so many that whole vectors fit, if that is soon. */
static inline int64_t act_copies(int64_t once) {
  int64_t whole = 1;
  while (once * whole % 32 && once * whole <= 512) whole *= 2;
  if (once * whole % 32) whole = 1;
  return once > 0 && once * whole < 256 ? 256 / (once * whole) * whole : whole;
}
/* Room for a period whose last elements are padded. */
static inline int64_t act_room(int64_t period) { return (period + ACT_WIDE - 1) / ACT_WIDE * ACT_WIDE; }

/* Adds up what tasks have found, element by element of a period, and then each channel's elements; leaves it in `parts`.
 * apart: they are those of bfloat16. */
static inline void act_fold(double *sums, double *parts, int64_t tasks, int64_t count, int64_t channels, int64_t inner,
                            int64_t copies, int apart) {
  const int64_t room = act_room(copies * channels * inner), all = room * count;
  if (tasks < 1) return; /* of an empty tensor there are no parts */
  for (int64_t task = 1; task < tasks; task++)
    for (int64_t e = 0; e < all; e++) parts[e] += parts[task * all + e];
  for (int64_t k = 0; k < count; k++)
    for (int64_t c = 0, at = 0; c < copies * channels; c++)
      for (int64_t i = 0; i < inner; i++, at++)
        sums[k * channels + c % channels] += parts[k * room + (apart ? act_apart(at) : at)];
}

/* One value per element of a period: each channel's parameter `inner` times, the whole `copies` times. For bfloat16 they
 * are taken apart as the elements are, and no NaN is one that rounding would make a number. */
static inline float *act_spread(const float *values, int64_t channels, int64_t inner, int64_t copies, int apart) {
  const int64_t room = act_room(channels * inner * copies);
  float *spread = malloc(sizeof(float) * (size_t)room + 1);
  if (!spread) return NULL;
  for (int64_t at = room - ACT_WIDE; at < room && room; at++) spread[at] = act_plain_nan(values[0]);
  for (int64_t k = 0, at = 0; k < copies; k++)
    for (int64_t c = 0; c < channels; c++)
      for (int64_t i = 0; i < inner; i++, at++)
        spread[apart ? act_apart(at) : at] = apart ? act_plain_nan(values[c]) : values[c];
  return spread;
}

#endif
