/* Compares float32 results with piecewise polynomials in double.
 *
 * Stage: pieces -> [screen] -> certificate. In: consecutive encodings, what was computed for them, the pieces that cover
 * them. Out: the largest error, and every input whose error exceeds the budget or is NaN.
 * Build without contraction: the pieces' error bounds count the roundings of Horner's scheme as it stands.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { DEGREE = 7, BEND = 3, BLOCK = 256 };

typedef struct {
  uint32_t first, last;
  int32_t degree, slope_known;
  double centre, scale;
  double value[DEGREE + 1], slope[DEGREE + 1], bend[BEND + 1];
} Piece;

/* For output and gradient: the largest error so far with its encoding, and the inputs over the budget. */
typedef struct {
  double most;
  int64_t at, count;
  uint32_t *encodings;
  double *exact, *sensitivity;
} Tally;

static const double LIMIT = 0x1p128, PLACE = 0x1p-149, LAST_PLACE = 0x1p104, UNIT = 0x1p-24;

static inline float number(uint32_t encoding) {
  float x;
  memcpy(&x, &encoding, 4);
  return x;
}

void fill(float *x, uint32_t first, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = number(first + (uint32_t)i);
}

#define HORNER(degree) \
  static void horner_##degree(const Piece *p, const float *x, int n, double *f, double *s) { \
    for (int i = 0; i < n; i++) { \
      const double t = ((double)x[i] - p->centre) * p->scale; \
      double value = p->value[degree], slope = p->slope[degree]; \
      for (int k = degree - 1; k >= 0; k--) value = value * t + p->value[k], slope = slope * t + p->slope[k]; \
      f[i] = value, s[i] = slope; \
    } \
  }
HORNER(0)
HORNER(1)
HORNER(2)
HORNER(3)
HORNER(4)
HORNER(5)
HORNER(6)
HORNER(7)

static void (*const EVALUATE[DEGREE + 1])(const Piece *, const float *, int, double *, double *) = {
  horner_0, horner_1, horner_2, horner_3, horner_4, horner_5, horner_6, horner_7};

static void bends(const Piece *p, const float *x, int n, double *b) {
  for (int i = 0; i < n; i++) {
    const double t = ((double)x[i] - p->centre) * p->scale;
    double bend = p->bend[BEND];
    for (int k = BEND - 1; k >= 0; k--) bend = bend * t + p->bend[k];
    b[i] = bend;
  }
}

/* Most inputs lie where the function is straight or flat: nothing is to be measured where results are exact. */
static int differ(const float *computed, const double *exact, int n) {
  int unlike = 0;
  for (int i = 0; i < n; i++) unlike |= (double)computed[i] != exact[i];
  return unlike;
}

/* |computed - exact| and what it is divided by. The place of the exact value is taken just below it, so that a reference
 * on the wrong side of a power of two makes nobody lenient. */
static inline double clipped(double v) {
  const double low = v < -LIMIT ? -LIMIT : v;
  return low > LIMIT ? LIMIT : low;
}
static inline double distance(float computed, double exact) { return fabs(clipped((double)computed) - clipped(exact)); }
static inline double ruler(double exact, double sensitivity) {
  const double size = fabs(clipped(exact)), below = size * (1 - 0x1p-33);
  uint64_t bits;
  memcpy(&bits, &below, 8);
  bits &= (uint64_t)0x7ff << 52;
  double place;
  memcpy(&place, &bits, 8);
  place *= 0x1p-23;
  place = place < PLACE ? PLACE : place > LAST_PLACE ? LAST_PLACE : place;
  const double conditioned = UNIT * (size + sensitivity);
  return conditioned > place ? conditioned : place;
}

static void judge(const float *computed, const double *exact, const double *derivative, const float *x, uint32_t first,
    int n, double budget, Tally *tally) {
  const double limit = tally->most < budget ? tally->most : budget;
  int worse = 0;
  for (int i = 0; i < n; i++)
    worse |= !(distance(computed[i], exact[i]) <= limit * ruler(exact[i], fabs((double)x[i] * derivative[i])));
  if (!worse) return;
  for (int i = 0; i < n; i++) {
    const double sensitivity = fabs((double)x[i] * derivative[i]);
    const double error = distance(computed[i], exact[i]) / ruler(exact[i], sensitivity);
    if (error > tally->most) tally->most = error, tally->at = first + (uint32_t)i;
    if (error <= budget) continue;
    tally->encodings[tally->count] = first + (uint32_t)i;
    tally->exact[tally->count] = exact[i];
    tally->sensitivity[tally->count++] = sensitivity;
  }
}

/* Judges n consecutive encodings; returns how many of them the pieces cover. There may be no gradient. */
int64_t screen(const Piece *pieces, int64_t count, uint32_t first, int64_t n, const float *output, const float *gradient,
    double budget, Tally *of_output, Tally *of_gradient) {
  _Alignas(64) float x[BLOCK];
  _Alignas(64) double value[BLOCK], slope[BLOCK], bend[BLOCK];
  int64_t covered = 0;
  const uint32_t end = first + (uint32_t)(n - 1);
  for (int64_t k = 0; k < count; k++) {
    const Piece *p = pieces + k;
    if (p->last < first || p->first > end) continue;
    const uint32_t from = p->first > first ? p->first : first, to = p->last < end ? p->last : end;
    for (uint32_t at = from; at <= to; at += BLOCK) {
      const int m = to - at + 1 < BLOCK ? (int)(to - at + 1) : BLOCK;
      fill(x, at, m);
      EVALUATE[p->degree](p, x, m, value, slope);
      if (differ(output + (at - first), value, m))
        judge(output + (at - first), value, slope, x, at, m, budget, of_output);
      if (gradient && p->slope_known && differ(gradient + (at - first), slope, m)) {
        bends(p, x, m, bend);
        judge(gradient + (at - first), slope, bend, x, at, m, budget, of_gradient);
      }
      covered += m;
    }
  }
  return covered;
}

/* The reference itself at given encodings; NaN where no piece covers one. */
void reference(const Piece *pieces, int64_t count, const uint32_t *encodings, int64_t n, double *value, double *slope,
    double *bend) {
  for (int64_t i = 0; i < n; i++) {
    value[i] = slope[i] = bend[i] = NAN;
    const float x = number(encodings[i]);
    for (int64_t k = 0; k < count; k++)
      if (pieces[k].first <= encodings[i] && encodings[i] <= pieces[k].last)
        EVALUATE[pieces[k].degree](pieces + k, &x, 1, value + i, slope + i), bends(pieces + k, &x, 1, bend + i),
            slope[i] = pieces[k].slope_known ? slope[i] : NAN;
  }
}
