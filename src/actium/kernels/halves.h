/* Arrays of bfloat16 and binary16 to floats and back: a block through memory, or ACT_WIDE of them in a loop's registers.
 *
 * Same results as act_from_bf16, act_to_bf16, act_from_f16 and act_to_f16 of math.h, element by element, but that
 * act_narrow_bf16 takes what act_round_bf16_ returns.
 */
#ifndef ACTIUM_HALVES_H
#define ACTIUM_HALVES_H

#include "math.h"

/* The builtins behind _mm256_cvtph_ps and _mm256_cvtps_ph: <immintrin.h> itself would double the time of a build. */
#if defined(__F16C__) && __has_builtin(__builtin_ia32_vcvtph2ps256) && __has_builtin(__builtin_ia32_vcvtps2ph256)
typedef float act_v8f_ __attribute__((vector_size(32)));
typedef short act_v8h_ __attribute__((vector_size(16)));
#define ACT_EIGHTS(from, to, convert) \
    for (; i + 8 <= n; i += 8) { \
        from a; \
        __builtin_memcpy(&a, in + i, sizeof a); \
        const to b = convert; \
        __builtin_memcpy(out + i, &b, sizeof b); \
    }
#else
#define ACT_EIGHTS(from, to, convert)
#endif
#define ACT_BLOCK(name, from, to, convert, eights) \
    ACT_FN void name(const from* restrict in, to* restrict out, int n) { \
        int i = 0; \
        eights for (; i < n; i++) out[i] = convert(in[i]); \
    }
ACT_BLOCK(act_load_bf16, uint16_t, float, act_from_bf16, )
ACT_BLOCK(act_store_bf16, float, uint16_t, act_to_bf16, )
ACT_BLOCK(act_load_f16, uint16_t, float, act_from_f16, ACT_EIGHTS(act_v8h_, act_v8f_, __builtin_ia32_vcvtph2ps256(a)))
ACT_BLOCK(act_store_f16, float, uint16_t, act_to_f16, ACT_EIGHTS(act_v8f_, act_v8h_, __builtin_ia32_vcvtps2ph256(a, 0)))

/* ACT_WIDE halves to floats and back, for a loop that does it in registers, with vectors where the compiler has a type for
 * them: relu on float16 takes 0.10 ns an element that way, 0.21 through blocks (Zen 3). bfloat16 come apart, elements 0, 2,
 * 4, … first, then 1, 3, 5, …: two of them are the halves of 32 bits, so that neither way needs a shuffle.
 * Vectors are as long as those of the loop: what is stored in two parts cannot be loaded as one before it has reached the
 * cache, and that wait made float16 kernels five to eight times slower on processors with 512-bit vectors. */
#if defined(__AVX512F__) && __has_builtin(__builtin_ia32_vcvtph2ps512_mask) && __has_builtin(__builtin_ia32_vcvtps2ph512_mask)
#define ACT_VECTOR 16
typedef float act_vector_ __attribute__((vector_size(64)));
typedef short act_vector_h_ __attribute__((vector_size(32)));
#define ACT_WIDEN_(a) __builtin_ia32_vcvtph2ps512_mask(a, (act_vector_){0}, 0xffff, 4)
#define ACT_NARROW_(a) __builtin_ia32_vcvtps2ph512_mask(a, 0, (act_vector_h_){0}, 0xffff)
#elif defined(__F16C__) && __has_builtin(__builtin_ia32_vcvtph2ps256) && __has_builtin(__builtin_ia32_vcvtps2ph256)
#define ACT_VECTOR 8
typedef act_v8f_ act_vector_;
typedef act_v8h_ act_vector_h_;
#define ACT_WIDEN_(a) __builtin_ia32_vcvtph2ps256(a)
#define ACT_NARROW_(a) __builtin_ia32_vcvtps2ph256(a, 0)
#else
#define ACT_VECTOR 8
#endif
#define ACT_WIDE (2 * ACT_VECTOR)
#if defined(ACT_WIDEN_)
ACT_FN void act_widen_f16(const uint16_t *in, float *out) {
    for (int at = 0; at < ACT_WIDE; at += ACT_VECTOR) {
        act_vector_h_ a;
        __builtin_memcpy(&a, in + at, sizeof a);
        const act_vector_ b = ACT_WIDEN_(a);
        __builtin_memcpy(out + at, &b, sizeof b);
    }
}
ACT_FN void act_narrow_f16(const float *in, uint16_t *out) {
    for (int at = 0; at < ACT_WIDE; at += ACT_VECTOR) {
        act_vector_ a;
        __builtin_memcpy(&a, in + at, sizeof a);
        const act_vector_h_ b = ACT_NARROW_(a);
        __builtin_memcpy(out + at, &b, sizeof b);
    }
}
#else
ACT_FN void act_widen_f16(const uint16_t *in, float *out) { act_load_f16(in, out, ACT_WIDE); }
ACT_FN void act_narrow_f16(const float *in, uint16_t *out) { act_store_f16(in, out, ACT_WIDE); }
#endif
typedef uint32_t act_vector_u_ __attribute__((vector_size(4 * ACT_VECTOR)));
ACT_FN void act_widen_bf16(const uint16_t *in, float *out) {
    act_vector_u_ two;
    __builtin_memcpy(&two, in, sizeof two);
    const act_vector_u_ even = two << 16, odd = two & 0xffff0000u;
    __builtin_memcpy(out, &even, sizeof even);
    __builtin_memcpy(out + ACT_VECTOR, &odd, sizeof odd);
}
/* Of what act_round_bf16_ returns. */
ACT_FN void act_narrow_bf16(const uint32_t *in, uint16_t *out) {
    act_vector_u_ even, odd;
    __builtin_memcpy(&even, in, sizeof even);
    __builtin_memcpy(&odd, in + ACT_VECTOR, sizeof odd);
    even = (even >> 16) | (odd & 0xffff0000u);
    __builtin_memcpy(out, &even, sizeof even);
}

#endif
