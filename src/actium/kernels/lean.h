/* What kernels share that keep a bit or a byte per element for the backward pass instead of the input.
 *
 * Bit k of byte b belongs to element 8 b + k. A block has ACT_LANES elements, so that no two blocks share a byte.
 */
#ifndef ACTIUM_LEAN_H
#define ACTIUM_LEAN_H

#include "block.h"

enum { ACT_NAN_CODE = 255 };

#if defined(__AVX__)
typedef float act_eight_ __attribute__((vector_size(32)));

static inline int act_above_half_(const float *s) {
  act_eight_ v, half = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
  memcpy(&v, s, sizeof v);
  return __builtin_ia32_movmskps256((act_eight_)(v > half));
}
static inline int act_nan_(const float *s) {
  act_eight_ v;
  memcpy(&v, s, sizeof v);
  return __builtin_ia32_movmskps256((act_eight_)(v != v));
}
#else
static inline int act_above_half_(const float *s) {
  int mask = 0;
  for (int k = 0; k < 8; k++) mask |= (s[k] > 0.5f) << k;
  return mask;
}
static inline int act_nan_(const float *s) {
  int mask = 0;
  for (int k = 0; k < 8; k++) mask |= (s[k] != s[k]) << k;
  return mask;
}
#endif

/* 1, 0 or NaN -> a bit each, and a second one for NaN, which is written only where there is a NaN: the second plane
 * comes zeroed, and is thrown away if the return value is 0 for every block. */
static inline int act_pack(float *s, uint8_t *bits, uint8_t *nans, int m) {
  const int bytes = (m + 7) / 8;
  for (int i = m; i < 8 * bytes; i++) s[i] = 0.0f;
  int found = 0;
  for (int i = 0; i < m; i++) found |= s[i] != s[i];
  for (int b = 0; b < bytes; b++) bits[b] = (uint8_t)act_above_half_(s + 8 * b);
  if (found)
    for (int b = 0; b < bytes; b++) nans[b] = (uint8_t)act_nan_(s + 8 * b);
  return found;
}

static inline void act_unpack(const uint8_t *bits, float *s, int m) {
  for (int b = 0; b < (m + 7) / 8; b++) {
    const uint32_t byte = bits[b];
    for (int k = 0; k < 8; k++) s[8 * b + k] = (float)(int32_t)((byte >> k) & 1u);
  }
}
static inline void act_unpack_nan(const uint8_t *nans, float *s, int m) {
  for (int b = 0; b < (m + 7) / 8; b++) {
    if (nans[b] == 0) continue;
    for (int k = 0; k < 8; k++)
      if ((nans[b] >> k) & 1) s[8 * b + k] = __builtin_nanf("");
  }
}

/* A slope -> the number of the nearest point of a grid: origin, 1 / step, the number of the origin. */
static inline void act_encode(const float *s, uint8_t *codes, const float *grid, int m) {
  const float origin = grid[0], inverse = grid[1], zero = grid[2];
  for (int i = 0; i < m; i++) {
    float t = (s[i] - origin) * inverse + zero;
    t = t > 0.0f ? t : 0.0f;
    t = t < 254.0f ? t : 254.0f;
    const int32_t nearest = (int32_t)(t + 0.5f);
    codes[i] = (uint8_t)(s[i] == s[i] ? nearest : ACT_NAN_CODE);
  }
}
static inline void act_decode(const uint8_t *codes, const float *table, float *s, int m) {
  for (int i = 0; i < m; i++) s[i] = table[codes[i]];
}

/* The slope from the encoding of a half and a mark that is 1 right of the turning point. */
static inline void act_recall(const uint16_t *y, const float *table, float *s, int m) {
  for (int i = 0; i < m; i++) s[i] = table[(int32_t)y[i] + (s[i] > 0.5f ? 65536 : 0)];
}

#endif
