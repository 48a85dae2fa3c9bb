/* The functions of the hot path under narrower promises than math.h's, and so in half the instructions.
 *
 * act_expn*: exp for arguments that are never positive (e^-|x|, e^(-x^2/2)).
 * *_h: for kernels of half-precision tensors, whose results are rounded to 11 or 8 bits: relative error below 2^-16.
 * Coefficients come from benchmarks/fit_math.py.
 */
#ifndef ACTIUM_HOT_H
#define ACTIUM_HOT_H

#include "math.h"

#define ACT_H2(x, a, b, c) ACT_FMA(ACT_FMA(a, x, b), x, c)
#ifndef ACT_H10
#define ACT_H10(x, a, b, ...) ACT_H9(x, ACT_FMA(a, x, b), __VA_ARGS__)
#endif

/* Highest power first, of (f(r) - r [- 1]) / r^2. */
#define ACT_C_EXPN 0.001381903188303113f, 0.008368715643882751f, 0.04166828840970993f, 0.1666652113199234f, \
    0.4999999403953552f
#define ACT_C_EXPN_H 0.041275981813669205f, 0.1675397902727127f, 0.5000516772270203f
#define ACT_C_EXPM1_H 0.00833865165f, 0.0418737866f, 0.166668266f, 0.49999395f
#define ACT_C_LOG1P_UNIT -0.003306016093119979f, 0.020148349925875664f, -0.0575585775077343f, 0.10669798403978348f, \
    -0.15349021553993225f, 0.19693182408809662f, -0.24958156049251556f, 0.3333047032356262f, -0.4999993145465851f
#define ACT_C_LOG1P_UNIT_H -0.02473389357328415f, 0.10359113663434982f, -0.21240299940109253f, 0.3262256979942322f, \
    -0.49953943490982056f
/* mills(a) (a + k) in v = (a - k) / (a + k): one division covers [0, inf]. */
#define ACT_C_MILLS_V -3.72067115677055e-05f, -8.249304664786905e-05f, 0.0004319666186347604f, \
    0.0005827394197694957f, -0.004142872989177704f, 0.0011770528508350253f, 0.03748521953821182f, -0.15151777863502502f, \
    0.3529399633407593f, -0.5881884098052979f, 0.7502940893173218f
#define ACT_C_MILLS_V_H 0.001946738688275218f, -0.0007682073628529906f, -0.016064302995800972f, \
    0.008887311443686485f, 0.13193413615226746f, -0.43365398049354553f, 0.7066577076911926f

/* n + 127 in the low bits: shifted by 23 they are 2^n. */
#define ACT_MAGIC_EXPONENT 12583039.0f

ACT_FN float act_shifted_(int32_t biased) { return act_float_((int32_t)((uint32_t)biased << 23)); }
ACT_FN float act_expn_p_(float r) { return ACT_FMA(ACT_FMA(ACT_HORNER(4, r, ACT_C_EXPN), r, 1.0f), r, 1.0f); }

/* exp(y + low) = hi * lo as in math.h, by integer minima alone: a select on y would become a branch, and a branch
 * keeps the compiler from seeing that hi, lo and their product share everything. hi has the exponent down to -125,
 * lo what is left, and is 0 from 2^-252 on. */
ACT_FN float act_expn_clamp_(float y) { return y < -200.0f ? -200.0f : y; }
ACT_FN float act_expn_t_(float c) { return ACT_FMA(c, ACT_LOG2E, ACT_MAGIC_EXPONENT); }
ACT_FN int32_t act_expn_biased_(float t) { return act_bits_less_(t, act_bits_(ACT_MAGIC_EXPONENT)) + 127; }
ACT_FN int32_t act_expn_first_(float t) { return act_expn_biased_(t) < 2 ? 2 : act_expn_biased_(t); }
ACT_FN float act_expn_scaled_(float y, float low) {
    const float c = act_expn_clamp_(y), t = act_expn_t_(c), n = t - ACT_MAGIC_EXPONENT;
    const float r = ACT_FMA(n, -ACT_LN2_HI, c) + ACT_FMA(n, -ACT_LN2_LO, low);
    return act_expn_p_(r) * act_shifted_(act_expn_first_(t));
}
ACT_FN float act_expn_hi(float y) { return act_expn_scaled_(y, 0.0f); }
ACT_FN float act_expn_lo(float y) {
    const float t = act_expn_t_(act_expn_clamp_(y));
    const int32_t rest = act_expn_biased_(t) - act_expn_first_(t) + 127;
    return act_shifted_(rest < 0 ? 0 : rest);
}
ACT_FN float act_expn(float y) { return act_expn_hi(y) * act_expn_lo(y); }

/* exp(c x^2) for c < 0, with the rounding errors of the exponent carried along where it is not lost anyway. */
ACT_FN float act_expsqn_y_(float x, float c) { return (c * x) * x; }
ACT_FN float act_expsqn_hi(float x, float c) {
    const float q = c * x, y = q * x, low = ACT_FMA(ACT_FMA(c, x, -q), x, ACT_FMA(q, x, -y));
    return act_expn_scaled_(y, __builtin_fabsf(y) < 200.0f ? low : 0.0f);
}
ACT_FN float act_expsqn_lo(float x, float c) { return act_expn_lo(act_expsqn_y_(x, c)); }
ACT_FN float act_expsqn(float x, float c) { return act_expsqn_hi(x, c) * act_expsqn_lo(x, c); }

/* log1p on [0, 1]. */
ACT_FN float act_log1p_unit(float z) { return ACT_FMA(z * z, ACT_HORNER(8, z, ACT_C_LOG1P_UNIT), z); }

/* Phi(-a) exp(a^2/2) for a >= 0. */
ACT_FN float act_mills(float a) {
    const float w = 1.0f / (a + 3.75f), v = ACT_FMA(w, -7.5f, 1.0f);
    return ACT_HORNER(10, v, ACT_C_MILLS_V) * w;
}

/* tanh from expm1(-2|x|), which does not cancel near 0. */
ACT_FN float act_tanh_by_expm1(float x) {
    const float a = -2.0f * __builtin_fabsf(x), y = a < -60.0f ? -60.0f : a;
    const float t = ACT_FMA(y, ACT_LOG2E, ACT_MAGIC_EXPONENT), n = t - ACT_MAGIC_EXPONENT;
    const float r = ACT_FMA(n, -ACT_LN2_HI, y) + n * -ACT_LN2_LO, s = act_shifted_(act_bits_(t));
    const float q = ACT_FMA(ACT_HORNER(4, r, ACT_C_EXPN), r * r, r), em = ACT_FMA(q, s, s - 1.0f);
    return __builtin_copysignf(em / (2.0f + em), x);
}

/* ---- for half-precision tensors ---- */

/* 2^(n + 64) is normal down to e^-104, and the product with 2^-64 underflows gradually. */
ACT_FN float act_expn_h(float y) {
    const float c = y < -105.0f ? -105.0f : y, t = ACT_FMA(c, ACT_LOG2E, ACT_MAGIC_EXPONENT + 64.0f);
    const float n = t - (ACT_MAGIC_EXPONENT + 64.0f), r = ACT_FMA(n, -0.693147181f, c);
    const float p = ACT_FMA(ACT_FMA(ACT_HORNER(2, r, ACT_C_EXPN_H), r, 1.0f), r, 1.0f);
    return (p * act_shifted_(act_bits_(t))) * 5.42101086e-20f;
}
ACT_FN float act_expsqn_h(float x, float c) { return act_expn_h((c * x) * x); }
ACT_FN float act_log1p_unit_h(float z) { return ACT_FMA(z * z, ACT_HORNER(4, z, ACT_C_LOG1P_UNIT_H), z); }
ACT_FN float act_mills_h(float a) {
    const float w = 1.0f / (a + 2.5f), v = ACT_FMA(w, -5.0f, 1.0f);
    return ACT_HORNER(6, v, ACT_C_MILLS_V_H) * w;
}
ACT_FN float act_tanh_h(float x) {
    const float a = -2.0f * __builtin_fabsf(x), y = a < -60.0f ? -60.0f : a;
    const float t = ACT_FMA(y, ACT_LOG2E, ACT_MAGIC_EXPONENT), n = t - ACT_MAGIC_EXPONENT;
    const float r = ACT_FMA(n, -0.693147181f, y), s = act_shifted_(act_bits_(t));
    const float q = ACT_FMA(ACT_HORNER(3, r, ACT_C_EXPM1_H), r * r, r), em = ACT_FMA(q, s, s - 1.0f);
    return __builtin_copysignf(em / (2.0f + em), x);
}
/* expm1 for y <= 0 (the branch of the ELU family). */
ACT_FN float act_expm1n_h(float y) {
    const float c = y < -60.0f ? -60.0f : y, t = ACT_FMA(c, ACT_LOG2E, ACT_MAGIC_EXPONENT);
    const float n = t - ACT_MAGIC_EXPONENT, r = ACT_FMA(n, -0.693147181f, c), s = act_shifted_(act_bits_(t));
    return ACT_FMA(ACT_FMA(ACT_HORNER(3, r, ACT_C_EXPM1_H), r * r, r), s, s - 1.0f);
}

#endif
