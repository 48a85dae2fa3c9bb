/* Elementary functions that compilers vectorise inside a plain loop, without libm.
 *
 * Stage: formula -> plan -> [kernel]. In: one float. Out: one float, within 2 ULP of the exact value (ULP
 * floored at the smallest normal number) on every input. NaN in gives NaN out; infinities, subnormals and
 * zeros follow the mathematical limit. Every function computes both sides of each select: no branch, no loop.
 *
 * Build with -O3 -march=native -fno-math-errno -fno-trapping-math -ffp-contract=off. Never with -ffast-math:
 * the rounding tricks below rely on the order of operations.
 *
 * Coefficients (ACT_C_*, highest power first) come from benchmarks/fit_math.py, which can check this file.
 */
#ifndef ACTIUM_MATH_H
#define ACTIUM_MATH_H

#include <stdint.h>

#define ACT_FN static inline __attribute__((always_inline, unused))
#define ACT_INF __builtin_inff()
#define ACT_TINY 1.17549435e-38f /* the smallest normal number */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
#define ACT_FMA(a, b, c) __builtin_fmaf((a), (b), (c))
#else
/* A product of two floats is exact in double, so that only a double rounding separates this from an FMA. */
#define ACT_FMA(a, b, c) ((float)((double)(a) * (double)(b) + (double)(c)))
#endif

/* Adding 1.5 * 2^23 rounds a float below 2^22 to an integer and leaves that integer in the low bits. */
#define ACT_MAGIC 12582912.0f
#define ACT_MAGIC_D 6755399441055744.0
#define ACT_LOG2E 1.44269504f
/* ln 2 = HI + LO; HI has 10 significant bits, so that n * HI is exact for every exponent n. */
#define ACT_LN2_HI 0.693359375f
#define ACT_LN2_LO -0.000212194442f

#define ACT_C_EXPM1 0.00146061147f, 0.00835890975f, 0.0416595973f, 0.166665837f, 0.500000119f
#define ACT_C_EXP2 0.000153271729f, 0.0013391024f, 0.0096185049f, 0.0555035956f, 0.240226477f, 0.693147182f
#define ACT_C_LOG -0.128784075f, 0.139875099f, -0.121874437f, 0.14005217f, -0.166802466f, 0.20010449f, -0.249998033f, \
    0.333332151f, -0.5f
#define ACT_C_TANH 0.00190098747f, -0.00789155532f, 0.0215759091f, -0.0539222881f, 0.133330002f, -0.333333254f
#define ACT_C_TANHSHRINK 2.70538658e-05f, -0.000241697329f, 0.00106659962f, -0.00331092835f, 0.0087380344f, \
    -0.0218376592f, 0.0539642684f, -0.133333161f
#define ACT_C_SINH 2.78221319e-06f, 0.000198428956f, 0.00833331048f, 0.166666672f
#define ACT_C_ERF 8.00288472e-05f, -0.000805081858f, 0.00519246096f, -0.0268557407f, 0.112836257f, -0.376126289f, \
    0.128379166f
#define ACT_C_ERFCX -0.000117423624f, 0.000391846086f, -0.00102380081f, 0.00277807587f, -0.00730519509f, \
    0.0181883145f, -0.042707257f, 0.0937614813f, -0.190052629f, 0.349144757f
#define ACT_C_TAIL 16625.4883f, -10834.6592f, 3230.54272f, -617.311646f, 94.6566238f, -14.8021593f, 2.99807692f, \
    -0.999993443f
#define ACT_C_ATAN -0.0017875476f, 0.0108873611f, -0.0311270021f, 0.0579065457f, -0.0840047523f, 0.109511748f, \
    -0.142640516f, 0.19998531f, -0.333332986f
#define ACT_C_SIN 2.83268287e-06f, -0.000198530717f, 0.0083333794f, -0.166666672f
#define ACT_C_COS 2.44323364e-05f, -0.00138873095f, 0.0416666456f, -0.5f, 1.0f
#define ACT_C_DLOG2 0.25109361308581774, 0.26066290612634568, 0.32064434589904711, 0.41219794283638395, \
    0.57707802062623748, 0.96179669391541467, 2.8853900817779308
#define ACT_C_DEXP2 1.5195925592106803e-05, 0.00015467008639590888, 0.0013333938089458563, 0.0096180374054815349, \
    0.055504103599531895, 0.24022651071003776, 0.69314718070686243

/* ---- bits, Horner's scheme ---- */

ACT_FN int32_t act_bits_(float x) { int32_t i; __builtin_memcpy(&i, &x, 4); return i; }
/* Difference of encodings, modulo 2^32. */
ACT_FN int32_t act_bits_less_(float x, int32_t b) { return (int32_t)((uint32_t)act_bits_(x) - (uint32_t)b); }
ACT_FN float act_float_(int32_t i) { float x; __builtin_memcpy(&x, &i, 4); return x; }
ACT_FN int64_t act_bits_d_(double x) { int64_t i; __builtin_memcpy(&i, &x, 8); return i; }
ACT_FN double act_double_(int64_t i) { double x; __builtin_memcpy(&x, &i, 8); return x; }
/* 2^n for -126 <= n <= 127; 0 for n = -127. */
ACT_FN float act_pow2_(int32_t n) { return act_float_((int32_t)((uint32_t)(n + 127) << 23)); }

/* Horner's scheme of degree n: highest power first; a table's name expands to its coefficients. */
#define ACT_HORNER(n, x, ...) ACT_H##n(x, __VA_ARGS__)
#define ACT_H2(x, a, b, c) ACT_FMA(ACT_FMA(a, x, b), x, c)
#define ACT_H3(x, a, b, c, d) ACT_FMA(ACT_FMA(ACT_FMA(a, x, b), x, c), x, d)
#define ACT_H4(x, a, b, ...) ACT_H3(x, ACT_FMA(a, x, b), __VA_ARGS__)
#define ACT_H5(x, a, b, ...) ACT_H4(x, ACT_FMA(a, x, b), __VA_ARGS__)
#define ACT_H6(x, a, b, ...) ACT_H5(x, ACT_FMA(a, x, b), __VA_ARGS__)
#define ACT_H7(x, a, b, ...) ACT_H6(x, ACT_FMA(a, x, b), __VA_ARGS__)
#define ACT_H8(x, a, b, ...) ACT_H7(x, ACT_FMA(a, x, b), __VA_ARGS__)
#define ACT_H9(x, a, b, ...) ACT_H8(x, ACT_FMA(a, x, b), __VA_ARGS__)
#define ACT_H10(x, a, b, ...) ACT_H9(x, ACT_FMA(a, x, b), __VA_ARGS__)
ACT_FN double act_dp6_(double x, double a, double b, double c, double d, double e, double f, double g) {
    return (((((a * x + b) * x + c) * x + d) * x + e) * x + f) * x + g;
}

/* ---- exp ---- */

/* y = n ln 2 + r with r in [-0.29, 0.41]. The interval is off centre so that 2^n (1 + expm1 r) - 1 loses no bits
 * next to r = 0: it makes |expm1 y| >= 1/4 for n = -1 and >= 1/2 for n = 1. */
ACT_FN float act_exp_t_(float y) { return ACT_FMA(y, ACT_LOG2E, -0.085f) + ACT_MAGIC; }
ACT_FN int32_t act_exp_n_(float t) { return act_bits_less_(t, act_bits_(ACT_MAGIC)); }
ACT_FN float act_exp_clamp_(float y) {
    const float low = y < -174.67f ? -174.67f : y;
    return low > 176.2f ? 176.2f : low;
}
/* expm1 of the reduced y + low, where low is a rounding error left over from y. */
ACT_FN float act_exp_r_(float y, float t, float low) {
    const float n = t - ACT_MAGIC;
    return ACT_FMA(n, -ACT_LN2_HI, y) + ACT_FMA(n, -ACT_LN2_LO, low);
}
ACT_FN float act_exp_pm1_(float r) { return ACT_FMA(ACT_HORNER(4, r, ACT_C_EXPM1), r * r, r); }
/* 2^n as two factors, the smaller first: the other way round 3e38 * exp(-0.5) would overflow on its way. */
ACT_FN float act_exp_s1_(float t) { return act_pow2_(act_exp_n_(t) >> 1); }
ACT_FN float act_exp_s2_(float t) { return act_pow2_(act_exp_n_(t) - (act_exp_n_(t) >> 1)); }

/* exp(y) = hi * lo, neither of which over- or underflows: (a * hi) * lo is a * exp(y) even where exp(y) is not a
 * float. lo = 0 below -174.67; hi * lo = inf above 176. hi >= 0.77 * 2^-126, and is normal but for y near -174.1. */
ACT_FN float act_exp_hi(float y) {
    const float c = act_exp_clamp_(y), t = act_exp_t_(c);
    return (1.0f + act_exp_pm1_(act_exp_r_(c, t, 0.0f))) * act_exp_s1_(t);
}
ACT_FN float act_exp_lo(float y) { return y < -174.67f ? 0.0f : act_exp_s2_(act_exp_t_(act_exp_clamp_(y))); }
ACT_FN float act_exp(float y) { return act_exp_hi(y) * act_exp_lo(y); }

/* Half of expm1 is formed and doubled: 2^n overflows for n = 128, where expm1 need not. */
ACT_FN float act_expm1(float y) {
    const float c = act_exp_clamp_(y), t = act_exp_t_(c), s1 = act_exp_s1_(t);
    const float s2 = act_pow2_(act_exp_n_(t) - (act_exp_n_(t) >> 1) - 1);
    const float half = ACT_FMA(act_exp_pm1_(act_exp_r_(c, t, 0.0f)) * s1, s2, ACT_FMA(s1, s2, -0.5f));
    return __builtin_fabsf(y) < 1e-10f ? y : half + half;
}

ACT_FN float act_exp2(float y) {
    const float low = y < -252.0f ? -252.0f : y, c = low > 254.0f ? 254.0f : low;
    const float t = c + ACT_MAGIC, r = c - (t - ACT_MAGIC);
    return ACT_FMA(ACT_HORNER(5, r, ACT_C_EXP2), r, 1.0f) * act_exp_s1_(t) * act_exp_s2_(t);
}

/* exp(c x^2) with the rounding errors of c x and of its product with x carried into the reduced argument: at
 * |c x^2| = 100 they would otherwise cost tens of ULP. Past 200 the result is 0 or inf whatever they are. (c x) x
 * and not c (x x): the latter overflows where c x^2 need not. */
ACT_FN float act_expsq_y_(float x, float c) { return (c * x) * x; }
ACT_FN float act_expsq_r_(float x, float c, float t) {
    const float q = c * x, y = q * x, low = ACT_FMA(ACT_FMA(c, x, -q), x, ACT_FMA(q, x, -y));
    return act_exp_r_(act_exp_clamp_(y), t, __builtin_fabsf(y) < 200.0f ? low : 0.0f);
}
ACT_FN float act_expsq_hi(float x, float c) {
    const float t = act_exp_t_(act_exp_clamp_(act_expsq_y_(x, c)));
    return (1.0f + act_exp_pm1_(act_expsq_r_(x, c, t))) * act_exp_s1_(t);
}
ACT_FN float act_expsq_lo(float x, float c) { return act_exp_lo(act_expsq_y_(x, c)); }

/* ---- log ---- */

#define ACT_SQRT_LOW 0x3f2aaaab /* bits of 2/3: significands are taken from [2/3, 4/3) */
/* log1p(f) - f for f in [-1/3, 1/3]. */
ACT_FN float act_log_tail_(float f) { return (f * f) * ACT_HORNER(8, f, ACT_C_LOG); }
/* x = 2^k (1 + f); subnormal x are scaled by 2^23 first. */
ACT_FN int32_t act_log_i_(float x) { return act_bits_less_(x < ACT_TINY ? x * 8388608.0f : x, ACT_SQRT_LOW); }
ACT_FN float act_log_k_(float x) { return (float)((act_log_i_(x) >> 23) - (x < ACT_TINY ? 23 : 0)); }
ACT_FN float act_log_m_(float x) { return act_float_((act_log_i_(x) & 0x7fffff) + ACT_SQRT_LOW); }
ACT_FN float act_log_f_(float x) { return act_log_m_(x) - 1.0f; }
ACT_FN float act_log_edge_(float x, float finite) {
    const float zero = x == 0.0f ? -ACT_INF : __builtin_nanf("");
    return x > 0.0f ? (x < ACT_INF ? finite : x) : zero;
}
/* k ln 2 + log1p(f + low), where low is a rounding error left over from f. */
ACT_FN float act_log_sum_(float k, float f, float low) {
    return ACT_FMA(k, ACT_LN2_HI, f + (ACT_FMA(k, ACT_LN2_LO, act_log_tail_(f)) + low));
}
ACT_FN float act_log(float x) {
    const float f = act_log_f_(x), tail = ACT_FMA(act_log_k_(x), ACT_LN2_LO, act_log_tail_(f));
    return act_log_edge_(x, ACT_FMA(act_log_k_(x), ACT_LN2_HI, f + tail));
}

/* k + f log2(e) and its rounding errors apart: for k = 1 and f < 0 the sum is smaller than its terms. */
ACT_FN float act_log2(float x) {
    const float f = act_log_f_(x), k = act_log_k_(x), p = f * ACT_LOG2E, sum = k + p;
    const float lost = ACT_FMA(f, ACT_LOG2E, -p) + (k == 0.0f ? 0.0f : p - (sum - k));
    return act_log_edge_(x, sum + ACT_FMA(f, 1.92596303e-08f, ACT_FMA(act_log_tail_(f), ACT_LOG2E, lost)));
}

/* 1 + x = 2^k (1 + f) with f = 2^-k x + (2^-k - 1) from x itself, so that the rounding of 1 + x only picks k.
 * The sum is exact (its terms are within a factor 2 of each other) but for x in [1/3, 1/2]. */
ACT_FN float act_log1p(float x) {
    const float u = 1.0f + x;
    const int32_t shift = act_bits_less_(u, ACT_SQRT_LOW) & (int32_t)0xff800000;
    const float scale4 = act_float_(act_bits_less_(4.0f, shift)); /* 4 * 2^-k: 2^-128 would be subnormal */
    const float a = act_float_(act_bits_less_(x, shift)), b = ACT_FMA(0.25f, scale4, -1.0f), f = a + b;
    const float sum = act_log_sum_((float)(shift >> 23), f, a - (f - b));
    return __builtin_fabsf(x) < 1e-10f ? x : act_log_edge_(u, sum);
}

/* ---- hyperbolic ---- */

/* 1 - tanh|x|, or what is as good as 0 beside 1. */
ACT_FN float act_tanh_rest_(float a) {
    const float y = a > 20.0f ? -40.0f : -2.0f * a, t = act_exp_t_(y);
    const float z = (1.0f + act_exp_pm1_(act_exp_r_(y, t, 0.0f))) * act_pow2_(act_exp_n_(t));
    return (z + z) / (1.0f + z);
}
ACT_FN float act_tanh(float x) {
    const float a = __builtin_fabsf(x), z = a * a;
    const float small = ACT_FMA(a * z, ACT_HORNER(5, z, ACT_C_TANH), a);
    return __builtin_copysignf(a < 0.7f ? small : 1.0f - act_tanh_rest_(a), x);
}
/* a^3 (1/3 + ...) for 0 <= a < 1.2, with the roundings of a^3 and of 1/3 carried along: else up to 2.8 ULP. */
ACT_FN float act_tanhshrink_small_(float a) {
    const float z = a * a, cube = a * z, low = ACT_FMA(a, ACT_FMA(a, a, -z), ACT_FMA(a, z, -cube));
    const float rest = ACT_FMA(ACT_HORNER(7, z, ACT_C_TANHSHRINK), z, -9.93410776e-09f);
    /* The slope in `low` is 1/3 at 0 and, for either of its two parts, within 0.04 of 1/3 - 0.13 z below 1.2. */
    return ACT_FMA(0.333333343f, cube, ACT_FMA(cube, rest, ACT_FMA(z, -0.13f, 0.333333343f) * low));
}
/* In two steps, between which kernels cut their loops. */
ACT_FN float act_tanhshrink_rest(float x) { return act_tanh_rest_(__builtin_fabsf(x)); }
ACT_FN float act_tanhshrink_of(float x, float rest) {
    const float a = __builtin_fabsf(x), small = act_tanhshrink_small_(a);
    return __builtin_copysignf(a < 1.2f ? small : (a - 1.0f) + rest, x);
}
ACT_FN float act_tanhshrink(float x) { return act_tanhshrink_of(x, act_tanhshrink_rest(x)); }
ACT_FN float act_cosh(float x) {
    const float a = __builtin_fabsf(x), hi = act_exp_hi(a), lo = act_exp_lo(a);
    return ACT_FMA(0.5f * hi, lo, 0.5f / (hi * lo));
}
/* (e^a - e^-a) / 2 with e^a as 2^n and what is beyond it, so that its rounding does not come before the sum's. */
ACT_FN float act_sinh(float x) {
    const float a = __builtin_fabsf(x), z = a * a, c = act_exp_clamp_(a), t = act_exp_t_(c), s1 = act_exp_s1_(t);
    const float s2 = act_pow2_(act_exp_n_(t) - (act_exp_n_(t) >> 1) - 2), p = act_exp_pm1_(act_exp_r_(c, t, 0.0f));
    const float half = ACT_FMA(p * s1, s2, ACT_FMA(s1, s2, -0.0625f / (ACT_FMA(p, s1, s1) * s2)));
    return __builtin_copysignf(a < 1.0f ? ACT_FMA(a * z, ACT_HORNER(3, z, ACT_C_SINH), a) : half + half, x);
}

/* ---- normal distribution and error function ---- */

/* exp(a^2) erfc(a) for a >= 3/4 in two parts, the second the smaller. For large a they are k/a (1 + z R(z)), z = 1/(2 a^2)
 * and k = 1/sqrt(pi), with the roundings of 1/a, k and k/a carried along. */
#define ACT_FIRST_(a, b, c, d, e, f, g, h, i, j) j
#define ACT_SECOND_(x, a, b, c, d, e, f, g, h, i, j) ACT_FMA(x, i, ((x) * (x)) * ACT_HORNER(7, x, a, b, c, d, e, f, g, h))
#define ACT_FIRST(...) ACT_FIRST_(__VA_ARGS__)
#define ACT_SECOND(x, ...) ACT_SECOND_(x, __VA_ARGS__)
ACT_FN float act_erfcx_far_(float a) { return 0.564189613f * (1.0f / a); }
ACT_FN float act_erfcx_high_(float a) { return a < 2.0f ? ACT_FIRST(ACT_C_ERFCX) : act_erfcx_far_(a); }
ACT_FN float act_erfcx_low_(float a) {
    const float v = a - 1.34375f, w = 1.0f / a, z = 0.5f * (w * w);
    const float lost = a < ACT_INF ? ACT_FMA(-act_erfcx_far_(a), a, 0.564189613f) : 0.0f;
    const float rest = ACT_FMA(0.564189613f, z * ACT_HORNER(7, z, ACT_C_TAIL), lost - 2.93176914e-08f);
    return a < 2.0f ? ACT_SECOND(v, ACT_C_ERFCX) : w * rest;
}
/* (high + low) exp(-x^2) for x >= 0: e^r is 1 + r + more, and no part of the product is rounded before the sum is but
 * the small ones; `lost` is the rounding of r. */
ACT_FN float act_times_expsq_(float high, float low, float x) {
    const float y = act_exp_clamp_(-x * x), t = act_exp_t_(y), n = t - ACT_MAGIC, big = ACT_FMA(n, -ACT_LN2_HI, y);
    const float rest = x < 14.0f ? ACT_FMA(-x, x, x * x) : 0.0f, small = ACT_FMA(n, -ACT_LN2_LO, rest);
    const float r = big + small, lost = (big - r) + small, more = ACT_HORNER(4, r, ACT_C_EXPM1) * (r * r);
    const float parts = low + ACT_FMA(high, more, ACT_FMA(low, r + more, high * lost));
    return ((high + ACT_FMA(high, r, parts)) * act_exp_s1_(t)) * act_exp_lo(-x * x);
}
ACT_FN float act_erf_small_(float a) { return ACT_FMA(a, ACT_HORNER(6, a * a, ACT_C_ERF), a); }
/* erfc(a) for a >= 3/4. */
ACT_FN float act_erfc_tail_(float a) { return act_times_expsq_(act_erfcx_high_(a), act_erfcx_low_(a), a); }
/* Below 3/4, 1 - a rounds once and erf(a) - a is small: 1 - erf(a) itself would lose a bit. */
ACT_FN float act_erfc(float x) {
    const float a = __builtin_fabsf(x), s = 1.0f - a, lost = (1.0f - s) - a;
    const float small = s + ACT_FMA(-a, ACT_HORNER(6, a * a, ACT_C_ERF), lost), e = a < 0.75f ? small : act_erfc_tail_(a);
    return x < 0.0f ? 2.0f - e : e;
}
ACT_FN float act_erf(float x) {
    const float a = __builtin_fabsf(x);
    return __builtin_copysignf(a < 0.95f ? act_erf_small_(a) : 1.0f - act_erfc_tail_(a), x);
}

/* ---- algebraic ---- */

ACT_FN float act_sqrt(float x) { return __builtin_sqrtf(x); }
ACT_FN float act_hypot1(float u) {
    const float a = __builtin_fabsf(u);
    return a > 8192.0f ? a : __builtin_sqrtf(ACT_FMA(a, a, 1.0f));
}
ACT_FN float act_min(float a, float b) { return ((a < b) | (a != a)) ? a : b; }
ACT_FN float act_max(float a, float b) { return ((a > b) | (a != a)) ? a : b; }
ACT_FN float act_sign(float x) { return x != x ? x : (float)((x > 0.0f) - (x < 0.0f)); }
ACT_FN float act_floor(float x) {
    const float a = __builtin_fabsf(x), r = __builtin_copysignf((a + 8388608.0f) - 8388608.0f, x);
    return a < 8388608.0f ? (r > x ? r - 1.0f : r) : x;
}

/* ---- sin, cos ---- */

/* x = n pi/2 + r, |r| <= pi/4: the significand of x times the 96 bits of 2/pi that matter at its exponent, modulo 4
 * quadrants. Exact for every finite x; below 0.78 x is its own remainder.
 * ACT_PICK: a, b, c, d, e for j = 1, 2, 3, 4, 5. With masks, because GCC turns a chain of selects into a switch. */
#define ACT_MASK(k) (0u - (uint32_t)(j < k))
#define ACT_PICK(a, b, c, d, e) \
    (e ^ ((e ^ d) & ACT_MASK(5)) ^ ((d ^ c) & ACT_MASK(4)) ^ ((c ^ b) & ACT_MASK(3)) ^ ((b ^ a) & ACT_MASK(2)))
ACT_FN uint32_t act_shl_(uint32_t a, uint32_t b, uint32_t s) { return (a << s) | ((b >> 1) >> (31 - s)); }
/* |x| / (pi/2) modulo 4, times 2^62, for 1/2 <= |x|. */
ACT_FN uint64_t act_quadrants_(float x) {
    const uint32_t w0 = 0xa2f9836eu, w1 = 0x4e441529u, w2 = 0xfc2757d1u, w3 = 0xf534ddc0u, w4 = 0xdb629599u;
    const uint32_t i = (uint32_t)act_bits_(x) & 0x7fffffffu, m = (i & 0x7fffffu) | 0x800000u;
    const uint32_t p = (i < 0x3f000000u ? 126 : i >> 23) - 88, s = p & 31, j = p >> 5;
    const uint32_t a = ACT_PICK(0, w0, w1, w2, w3), b = ACT_PICK(w0, w1, w2, w3, w4);
    const uint32_t c = ACT_PICK(w1, w2, w3, w4, 0x3c439041u), d = ACT_PICK(w2, w3, w4, 0x3c439041u, 0xfe5163abu);
    const uint64_t high = (uint64_t)(m * act_shl_(a, b, s)) << 32, low = (uint64_t)m * act_shl_(c, d, s);
    return high + (uint64_t)m * act_shl_(b, c, s) + (low >> 32);
}
ACT_FN float act_trig_(float x, uint32_t quarter) {
    const uint64_t q = act_quadrants_(x);
    const uint32_t n = ((uint32_t)(q >> 32) + 0x20000000u) >> 30;
    const double high = (double)(int32_t)((uint32_t)(q >> 32) - (n << 30)), low = (double)(int32_t)((uint32_t)q >> 1);
    const double exact = (high * 4294967296.0 + low * 2.0) * 3.4061215800865545e-19; /* pi/2 * 2^-62 */
    const float reduced = (float)exact, a = __builtin_fabsf(x), r = a < 0.78f ? a : reduced, z = r * r;
    const float rest = a < 0.78f ? 0.0f : (float)(exact - (double)reduced); /* of r */
    const uint32_t k = (a < 0.78f ? 0 : n) + quarter;
    const float sine = r + ACT_FMA(r * z, ACT_HORNER(3, z, ACT_C_SIN), rest);
    const float cosine = ACT_HORNER(4, z, ACT_C_COS);
    const float value = k & 1 ? cosine : sine;
    const float result = k & 2 ? -value : value;
    return a < ACT_INF ? result : x - x;
}
ACT_FN float act_sin(float x) {
    const float s = act_trig_(x, 0);
    return act_bits_(x) < 0 ? -s : s;
}
ACT_FN float act_cos(float x) { return act_trig_(x, 1); }

/* ---- atan, asinh, pow ---- */

ACT_FN float act_atan(float x) {
    const float a = __builtin_fabsf(x);
    const int big = a > 1.0f;
    const float t = (big ? 1.0f : a) / (big ? a : 1.0f), z = t * t;
    const float p = ACT_FMA(t * z, ACT_HORNER(8, z, ACT_C_ATAN), t);
    return __builtin_copysignf(big ? 1.57079637f - (p + 4.37113883e-08f) : p, x);
}
/* log2 of m in [2/3, 4/3] to 2^-40. */
ACT_FN double act_log2_d_(double m) {
    const double s = (m - 1.0) / (m + 1.0);
    return s * act_dp6_(s * s, ACT_C_DLOG2);
}
ACT_FN float act_asinh(float x) {
    const double a = (double)__builtin_fabsf(x), h = 0.5 * (a + __builtin_sqrt(a * a + 1.0));
    const int32_t k = act_bits_less_((float)h, ACT_SQRT_LOW) >> 23;
    const double m = h * act_double_((int64_t)(1023 - k) << 52);
    const double value = ((double)(k + 1) + act_log2_d_(m)) * 0.69314718055994531;
    const double finite = a < 0.001 ? a - a * a * a * (1.0 / 6.0) : value;
    return __builtin_copysignf(a < (double)ACT_INF ? (float)finite : (float)a, x);
}
/* |x|^y, with log2|x| to 2^-40 in double: y log2|x| can be 150 before the result leaves the floats. */
ACT_FN float act_pow_abs_(float a, float y) {
    const double log2 = (double)act_log_k_(a) + act_log2_d_((double)act_log_m_(a));
    const double l = a == 0.0f ? -(double)ACT_INF : (a < ACT_INF ? log2 : (double)a);
    const double e = ((y == 0.0f) | (a == 1.0f)) ? 0.0 : (double)y * l;
    const double low = e < -200.0 ? -200.0 : e, c = low > 200.0 ? 200.0 : low;
    const double t = c + ACT_MAGIC_D, r = c - (t - ACT_MAGIC_D);
    const uint64_t n = (uint64_t)(act_bits_d_(t) - act_bits_d_(ACT_MAGIC_D)) + 1023;
    return (float)((1.0 + r * act_dp6_(r, ACT_C_DEXP2)) * act_double_((int64_t)(n << 52)));
}
/* C99's pow, except that a NaN in either argument gives NaN. */
ACT_FN float act_pow(float x, float y) {
    const float value = act_pow_abs_(__builtin_fabsf(x), y), half = 0.5f * y;
    const int whole = act_floor(y) == y, odd = whole & (act_floor(half) != half);
    const float sided = ((act_bits_(x) < 0) & odd) ? -value : value;
    const float result = ((x < 0.0f) & (x > -ACT_INF) & !whole) ? __builtin_nanf("") : sided;
    return ((x != x) | (y != y)) ? x + y : result;
}

/* ---- bfloat16 and binary16, as their encodings ---- */

ACT_FN float act_from_bf16(uint16_t h) { return act_float_((int32_t)((uint32_t)h << 16)); }
/* The encoding in the upper half, beneath it what was rounded away. NaN stays NaN if it is one that arithmetic makes or a
 * widened bfloat16: the sum overflows for those alone whose first sixteen bits of the fraction are all 1. */
ACT_FN uint32_t act_round_bf16_(float x) {
    const uint32_t i = (uint32_t)act_bits_(x);
    return i + 0x7fffu + ((i >> 16) & 1u);
}
ACT_FN uint16_t act_to_bf16(float x) { return x != x ? 0x7fc0u : (uint16_t)(act_round_bf16_(x) >> 16); }
/* A parameter, which may be any NaN, for loops that round to bfloat16 without a look at it. */
ACT_FN float act_plain_nan(float p) { return p != p ? __builtin_nanf("") : p; }
/* Subnormal halves go through an integer, so that no subnormal float is ever an operand. */
ACT_FN float act_from_f16(uint16_t h) {
    const uint32_t i = h & 0x7fffu, sign = (uint32_t)(h & 0x8000u) << 16, quiet = i > 0x7c00u ? 0x400000u : 0u;
    const uint32_t wide = (i << 13) + (i >= 0x7c00u ? 0x70000000u : 0x38000000u);
    const uint32_t small = (uint32_t)act_bits_((float)(int32_t)i * 5.9604644775390625e-8f);
    return act_float_((int32_t)((i < 0x400u ? small : wide | quiet) | sign));
}
/* Below 2^-14, adding 1/2 rounds |x| to a multiple of 2^-24, the spacing of the subnormal halves. */
ACT_FN uint16_t act_to_f16(float x) {
    const uint32_t i = (uint32_t)act_bits_(x) & 0x7fffffffu, sign = ((uint32_t)act_bits_(x) >> 16) & 0x8000u;
    const uint32_t small = (uint32_t)act_bits_(act_float_((int32_t)i) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (i - 0x38000000u + 0xfffu + ((i >> 13) & 1u)) >> 13;
    const uint32_t huge = i > 0x7f800000u ? 0x7e00u | ((i >> 13) & 0x3ffu) : 0x7c00u;
    return (uint16_t)((i < 0x38800000u ? small : (i < 0x47800000u ? normal : huge)) | sign);
}

#endif
