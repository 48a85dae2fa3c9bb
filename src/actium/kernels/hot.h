/* The functions of the hot path under narrower promises than math.h's, and so in half the instructions.
 *
 * Stage: formula -> plan -> [kernel]. In: one float of the domain named beside each function, or NaN. Out: one float,
 * within 2 ULP (act_mills_of: 3.9, act_mills_mid: 3.5) of the exact value; NaN for NaN. Outside its domain a function
 * returns anything.
 *
 * act_expn*: exp for arguments that are never positive (e^-|x|, e^(-x^2/2)).
 * *_h: for kernels of half-precision tensors, whose results are rounded to 11 or 8 bits: relative error below 2^-15.
 * Coefficients come from benchmarks/fit_math.py, which can check this file.
 */
#ifndef ACTIUM_HOT_H
#define ACTIUM_HOT_H

#include "math.h"

/* Highest power first, of (f(r) - r [- 1]) / r^2. */
#define ACT_C_EXPN 0.00138190319f, 0.00836871564f, 0.0416682884f, 0.166665211f, 0.49999994f
#define ACT_C_EXPN_H 0.0412759818f, 0.16753979f, 0.500051677f
#define ACT_C_EXPM1_H 0.00833865162f, 0.0418737866f, 0.166668266f, 0.49999395f
#define ACT_C_TANHSHRINK_H 0.00364809879f, -0.0181330536f, 0.0527492501f, -0.133186921f, 0.333330423f
#define ACT_C_LOG1P_UNIT -0.00330601609f, 0.0201483499f, -0.0575585775f, 0.106697984f, -0.153490216f, 0.196931824f, \
    -0.24958156f, 0.333304703f, -0.499999315f
#define ACT_C_LOG1P_UNIT_H -0.0247338936f, 0.103591137f, -0.212402999f, 0.326225698f, -0.499539435f
/* mills(a) (a + k) in v = (a - k) / (a + k): one division covers [0, inf]. */
#define ACT_C_MILLS_V -3.72067116e-05f, -8.24930466e-05f, 0.000431966619f, 0.00058273942f, -0.00414287299f, \
    0.00117705285f, 0.0374852195f, -0.151517779f, 0.352939963f, -0.58818841f, 0.750294089f
#define ACT_C_MILLS_V_H 0.00194673869f, -0.000768207363f, -0.016064303f, 0.00888731144f, 0.131934136f, -0.43365398f, \
    0.706657708f
/* mills(a) as above / below for a <= 8.001, which is where kernels/midrange.py leaves the cheap form; a^5 and a^3 have a
 * factor of 1 below. */
#define ACT_C_MILLS_ABOVE 0.398961604f, 4.17853355f, 19.6906395f, 48.8358994f, 58.4306374f
#define ACT_C_MILLS_BELOW 10.4759779f, 50.3217201f, 133.277512f, 190.91362f, 116.861275f
#define ACT_C_MILLS_H_ABOVE -0.000180912408f, 0.403762519f, 1.99992299f, 4.23055172f
#define ACT_C_MILLS_H_BELOW 5.148664f, 10.7519512f, 8.46107388f

/* Horner's scheme where the coefficient of x^(n + 1) is 1: a sum in place of the first product. */
#define ACT_MONIC(n, x, ...) ACT_MONIC_(n, x, __VA_ARGS__)
#define ACT_MONIC_(n, x, a, ...) ACT_H##n(x, (x) + (a), __VA_ARGS__)

/* Even and odd powers apart: longer by one product than Horner's scheme, and twice as fast where nothing else is
 * waiting to be done. s = x^2. */
#define ACT_ESTRIN(x, s, ...) ACT_E4_(x, s, __VA_ARGS__)
#define ACT_E4_(x, s, a, b, c, d, e) ACT_FMA(ACT_FMA(a, s, ACT_FMA(b, x, c)), s, ACT_FMA(d, x, e))

/* The same of degree 8 and 10; fourth = s^2. The latter's last two steps are Horner's, for act_mills near 0. */
#define ACT_ESTRIN8(x, s, fourth, ...) ACT_E8_(x, s, fourth, __VA_ARGS__)
#define ACT_E8_(x, s, fourth, a, b, c, d, e, f, g, h, i) \
    ACT_FMA(ACT_FMA(a, fourth, ACT_FMA(ACT_FMA(b, x, c), s, ACT_FMA(d, x, e))), fourth, \
            ACT_FMA(ACT_FMA(f, x, g), s, ACT_FMA(h, x, i)))
#define ACT_ESTRIN10(x, s, fourth, ...) ACT_E10_(x, s, fourth, __VA_ARGS__)
#define ACT_E10_(x, s, fourth, a, b, c, d, e, f, g, h, i, j, k) \
    ACT_FMA(ACT_FMA(ACT_FMA(ACT_FMA(ACT_FMA(a, s, ACT_FMA(b, x, c)), fourth, \
                                    ACT_FMA(ACT_FMA(d, x, e), s, ACT_FMA(f, x, g))), s, ACT_FMA(h, x, i)), x, j), x, k)

/* n + 127 in the low bits: shifted by 23 they are 2^n. */
#define ACT_MAGIC_EXPONENT 12583039.0f

/* y = n ln 2 + r; t holds n. */
ACT_FN float act_expn_clamp_(float y, float least) { return y < least ? least : y; }
ACT_FN float act_expn_t_(float c) { return ACT_FMA(c, ACT_LOG2E, ACT_MAGIC_EXPONENT); }
ACT_FN int32_t act_expn_scale_(float t) { return (int32_t)((uint32_t)act_bits_(t) << 23); }
ACT_FN float act_expn_r_(float c, float t) {
    const float n = t - ACT_MAGIC_EXPONENT;
    return ACT_FMA(n, -ACT_LN2_LO, ACT_FMA(n, -ACT_LN2_HI, c));
}
ACT_FN float act_expn_p_(float r) {
    const float s = r * r;
    return ACT_FMA(ACT_FMA(ACT_ESTRIN(r, s, ACT_C_EXPN), r, 1.0f), r, 1.0f);
}

/* exp(y + low) = hi * lo. hi is at most 1, and normal down to y = -173.97; lo is 1 or, from n = -126 down, 2^-125, never
 * 0. From -174.3 down both stay what they are there: such a product is to be replaced by 0, or is less than the smallest
 * normal number unless its other factors exceed 2^125. A mask, no comparison: gcc repeats a comparison per select. */
ACT_FN int32_t act_expn_raise_(float t) {
    return (act_bits_less_(t, act_bits_(ACT_MAGIC_EXPONENT) - 125) >> 31) & (125 << 23);
}
ACT_FN float act_expn_hi_(float y, float low, int carried) {
    const float c = act_expn_clamp_(y, -174.3f), t = act_expn_t_(c), r = act_expn_r_(c, t);
    const uint32_t scale = (uint32_t)act_expn_scale_(t) + (uint32_t)act_expn_raise_(t);
    return act_expn_p_(carried ? r + low : r) * act_float_((int32_t)scale);
}
ACT_FN float act_expn_hi(float y) { return act_expn_hi_(y, 0.0f, 0); }
ACT_FN float act_expn_lo(float y) {
    return act_float_(act_bits_(1.0f) - act_expn_raise_(act_expn_t_(act_expn_clamp_(y, -174.3f))));
}
/* 2^(n + 64) is normal down to e^-105, and the product with 2^-64 underflows gradually. */
ACT_FN float act_expn(float y) {
    const float c = act_expn_clamp_(y, -105.0f), t = ACT_FMA(c, ACT_LOG2E, ACT_MAGIC_EXPONENT + 64.0f);
    return (act_expn_p_(act_expn_r_(c, t - 64.0f)) * act_float_(act_expn_scale_(t))) * 5.42101086e-20f;
}

/* exp(c x^2) for c < 0, with the rounding errors of the exponent carried along where it is not lost anyway. */
ACT_FN float act_expsqn_y_(float x, float c) { return (c * x) * x; }
ACT_FN float act_expsqn_hi(float x, float c) {
    const float q = c * x, y = q * x, low = ACT_FMA(ACT_FMA(c, x, -q), x, ACT_FMA(q, x, -y));
    return act_expn_hi_(y, y > -200.0f ? low : 0.0f, 1);
}
ACT_FN float act_expsqn_lo(float x, float c) { return act_expn_lo(act_expsqn_y_(x, c)); }
ACT_FN float act_expsqn(float x, float c) { return act_expsqn_hi(x, c) * act_expsqn_lo(x, c); }

/* For |y| <= 40 (|c x^2| <= 40; kernels/midrange.py keeps below that), where neither the
 * result nor its square is out of range.
 * 2^n is added to the exponent's bits, for the low bits of t are n: sooner done than a product. */
ACT_FN float act_mid_t_(float y) { return ACT_FMA(y, ACT_LOG2E, ACT_MAGIC); }
ACT_FN float act_mid_scaled_(float p, float t) {
    return act_float_((int32_t)((uint32_t)act_bits_(p) + ((uint32_t)act_bits_(t) << 23)));
}
ACT_FN float act_exp_mid(float y) {
    const float t = act_mid_t_(y), n = t - ACT_MAGIC, r = ACT_FMA(n, -ACT_LN2_LO, ACT_FMA(n, -ACT_LN2_HI, y));
    return act_mid_scaled_(act_expn_p_(r), t);
}
ACT_FN float act_expsq_mid_of_(float y, float low) {
    const float t = act_mid_t_(y), n = t - ACT_MAGIC;
    return act_mid_scaled_(act_expn_p_(ACT_FMA(n, -ACT_LN2_HI, y) + ACT_FMA(n, -ACT_LN2_LO, low)), t);
}
ACT_FN float act_expsq_mid(float x, float c) {
    const float q = c * x, y = q * x;
    return act_expsq_mid_of_(y, ACT_FMA(ACT_FMA(c, x, -q), x, ACT_FMA(q, x, -y)));
}
/* For a power of two c, whose product with x is exact. */
ACT_FN float act_expsq2_mid(float x, float c) {
    const float q = c * x, y = q * x;
    return act_expsq_mid_of_(y, ACT_FMA(q, x, -y));
}
/* Phi(-a) exp(a^2/2) for 0 <= a <= 8.001: five products less than act_mills_of. */
ACT_FN float act_mills_mid(float a) {
    return ACT_HORNER(4, a, ACT_C_MILLS_ABOVE) / ACT_MONIC(4, a, ACT_C_MILLS_BELOW);
}

/* log1p on [0, 1]. */
ACT_FN float act_log1p_unit(float z) {
    const float s = z * z;
    return ACT_FMA(s, ACT_ESTRIN8(z, s, s * s, ACT_C_LOG1P_UNIT), z);
}

/* The largest finite number instead of infinity and NaN, for a >= 0. */
ACT_FN float act_finite_(float a) { return act_float_(act_bits_(a) < 0x7f7fffff ? act_bits_(a) : 0x7f7fffff); }
/* Phi(-a) exp(a^2/2) for a >= 0, in two steps. v comes from a and w: taken from w alone, the
 * rounding of a + 3.75 would cost 2 ULP more. */
ACT_FN float act_mills_w(float a) { return 1.0f / (a + 3.75f); }
ACT_FN float act_mills_of(float a, float w) {
    const float v = ACT_FMA(act_finite_(a), w + w, -1.0f), s = v * v;
    return ACT_ESTRIN10(v, s, s * s, ACT_C_MILLS_V) * w;
}

/* expm1 for y <= 0 (the branch of the ELU family). */
ACT_FN float act_expm1n(float y) {
    const float c = act_expn_clamp_(y, -60.0f), t = act_expn_t_(c), s = act_float_(act_expn_scale_(t));
    const float r = act_expn_r_(c, t), z = r * r, q = ACT_FMA(ACT_ESTRIN(r, z, ACT_C_EXPN), z, r);
    return __builtin_copysignf(ACT_FMA(q, s, s - 1.0f), y);
}
/* tanh |x| = -expm1(-2|x|) / (2 + expm1(-2|x|)), which does not cancel near 0: what is above the line and what is below. */
ACT_FN float act_tanh_line_(float x, float one) {
    const float y = act_expn_clamp_(-2.0f * __builtin_fabsf(x), -60.0f), t = act_expn_t_(y);
    const float r = act_expn_r_(y, t), s = act_float_(act_expn_scale_(t)), z = r * r;
    return ACT_FMA(ACT_FMA(ACT_ESTRIN(r, z, ACT_C_EXPN), z, r), s, s + one);
}
ACT_FN float act_tanh_above(float x) { return act_tanh_line_(x, -1.0f); }
ACT_FN float act_tanh_below(float x) { return act_tanh_line_(x, 1.0f); }

/* ---- for half-precision tensors ---- */

/* 2^(n + 64) is normal down to e^-104, and the product with 2^-64 underflows gradually. */
ACT_FN float act_expn_h(float y) {
    const float c = act_expn_clamp_(y, -105.0f), t = ACT_FMA(c, ACT_LOG2E, ACT_MAGIC_EXPONENT + 64.0f);
    const float n = t - (ACT_MAGIC_EXPONENT + 64.0f), r = ACT_FMA(n, -0.693147181f, c);
    const float p = ACT_FMA(ACT_FMA(ACT_HORNER(2, r, ACT_C_EXPN_H), r, 1.0f), r, 1.0f);
    return (p * act_float_(act_expn_scale_(t))) * 5.42101086e-20f;
}
ACT_FN float act_exp_mid_h(float y) {
    const float t = act_mid_t_(y), r = ACT_FMA(t - ACT_MAGIC, -0.693147181f, y);
    return act_mid_scaled_(ACT_FMA(ACT_FMA(ACT_HORNER(2, r, ACT_C_EXPN_H), r, 1.0f), r, 1.0f), t);
}
ACT_FN float act_expsq_mid_h(float x, float c) { return act_exp_mid_h((c * x) * x); }
ACT_FN float act_mills_mid_h(float a) {
    return ACT_HORNER(3, a, ACT_C_MILLS_H_ABOVE) / ACT_MONIC(2, a, ACT_C_MILLS_H_BELOW);
}
ACT_FN float act_expsqn_h(float x, float c) { return act_expn_h((c * x) * x); }
ACT_FN float act_log1p_unit_h(float z) { return ACT_FMA(z * z, ACT_HORNER(4, z, ACT_C_LOG1P_UNIT_H), z); }
ACT_FN float act_mills_w_h(float a) { return 1.0f / (a + 2.5f); }
ACT_FN float act_mills_of_h(float w) { return ACT_HORNER(6, ACT_FMA(w, -5.0f, 1.0f), ACT_C_MILLS_V_H) * w; }
/* expm1 for y <= 0. */
ACT_FN float act_expm1n_h(float y) {
    const float c = act_expn_clamp_(y, -60.0f), t = act_expn_t_(c), s = act_float_(act_expn_scale_(t));
    const float r = ACT_FMA(t - ACT_MAGIC_EXPONENT, -0.693147181f, c);
    return __builtin_copysignf(ACT_FMA(ACT_FMA(ACT_HORNER(3, r, ACT_C_EXPM1_H), r * r, r), s, s - 1.0f), y);
}
ACT_FN float act_tanh_expm1_h(float x) { return act_expm1n_h(-2.0f * __builtin_fabsf(x)); }
/* x - tanh x in two steps. Below 1, where a - tanh a cancels, a^3 (1/3 + ...). */
ACT_FN float act_tanhshrink_rest_h(float x) {
    const float e = act_expn_h(-2.0f * __builtin_fabsf(x));
    return (e + e) / (1.0f + e);
}
ACT_FN float act_tanhshrink_of_h(float x, float rest) {
    const float a = __builtin_fabsf(x), z = a * a, small = (a * z) * ACT_HORNER(4, z, ACT_C_TANHSHRINK_H);
    const float large = (a - 1.0f) + rest; /* computed inside the selection, clang would branch for NEON */
    return __builtin_copysignf(a < 1.0f ? small : large, x);
}

#endif
