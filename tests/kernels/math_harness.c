/* Evaluates the functions of actium's math.h and hot.h in vectorised loops and measures them against libm, in double or in
 * long double.
 *
 * Build with `-iquote DIRECTORY` naming the folder of the headers under test ("math.h" is ours, <math.h> the system's).
 * Exported: act_apply (one function over arrays), act_worst (largest error over encodings), act_reference (the
 * reference itself, so that a test can hold it against ball arithmetic), act_load and act_store (half-precision blocks).
 */
#include "halves.h"
#include "hot.h"
#include <math.h>
#include <stddef.h>
#include <string.h>

#define BLOCK 4096

/* Each takes the function's argument x and its parameter c, which most ignore. */
#define ONE_ARGUMENT(name, value) \
    static double ref_##name(double x, double c) { \
        (void)c; \
        return value; \
    }
static double ref_expsq(double x, double c) { return (double)expl((long double)c * x * x); }
ONE_ARGUMENT(exp, exp(x))
ONE_ARGUMENT(exp2, exp2(x))
ONE_ARGUMENT(expm1, expm1(x))
ONE_ARGUMENT(log, log(x))
ONE_ARGUMENT(log2, log2(x))
ONE_ARGUMENT(log1p, log1p(x))
ONE_ARGUMENT(tanh, tanh(x))
ONE_ARGUMENT(sinh, sinh(x))
ONE_ARGUMENT(cosh, cosh(x))
ONE_ARGUMENT(erf, erf(x))
ONE_ARGUMENT(erfc, erfc(x))
ONE_ARGUMENT(sin, sin(x))
ONE_ARGUMENT(cos, cos(x))
ONE_ARGUMENT(atan, atan(x))
ONE_ARGUMENT(asinh, asinh(x))
ONE_ARGUMENT(floor, floor(x))
ONE_ARGUMENT(sqrt, sqrt(x))
ONE_ARGUMENT(hypot1, hypot(1.0, x))
ONE_ARGUMENT(sign, x != x ? x : (x > 0) - (x < 0))
static double ref_pow(double x, double c) { return x != x || c != c ? NAN : pow(x, c); }
static double ref_min(double x, double c) { return x != x || c != c ? NAN : fmin(x, c); }
static double ref_max(double x, double c) { return x != x || c != c ? NAN : fmax(x, c); }

/* x - tanh x cancels near 0: its Taylor series takes over below 0.1, where seven terms leave 2^-54. */
static double ref_tanhshrink(double x, double c) {
    (void)c;
    static const double t[] = {
        1. / 3, -2. / 15, 17. / 315, -62. / 2835, 1382. / 155925, -21844. / 6081075, 929569. / 638512875};
    if (fabs(x) > 0.1) return (double)((long double)x - tanhl((long double)x));
    double z = x * x, sum = 0;
    for (int i = 6; i >= 0; i--) sum = sum * z + t[i];
    return x * z * sum;
}
/* Phi(-a) exp(a^2/2): the product itself while erfcl has bits, then the asymptotic series. */
static double ref_mills(double a, double c) {
    (void)c;
    if (a < 60) return (double)(0.5L * erfcl(a * 0.707106781186547524400844L) * expl((long double)a * a / 2));
    const long double z = 1 / ((long double)a * a);
    return (double)(0.398942280401432677939946L / a * (1 - z * (1 - 3 * z * (1 - 5 * z * (1 - 7 * z)))));
}

#define FUNCTIONS(X) \
    X(exp, act_exp(x), ref_exp) \
    X(exp2, act_exp2(x), ref_exp2) \
    X(expm1, act_expm1(x), ref_expm1) \
    X(log, act_log(x), ref_log) \
    X(log2, act_log2(x), ref_log2) \
    X(log1p, act_log1p(x), ref_log1p) \
    X(tanh, act_tanh(x), ref_tanh) \
    X(sinh, act_sinh(x), ref_sinh) \
    X(cosh, act_cosh(x), ref_cosh) \
    X(tanhshrink, act_tanhshrink(x), ref_tanhshrink) \
    X(erf, act_erf(x), ref_erf) \
    X(erfc, act_erfc(x), ref_erfc) \
    X(sin, act_sin(x), ref_sin) \
    X(cos, act_cos(x), ref_cos) \
    X(atan, act_atan(x), ref_atan) \
    X(asinh, act_asinh(x), ref_asinh) \
    X(floor, act_floor(x), ref_floor) \
    X(sqrt, act_sqrt(x), ref_sqrt) \
    X(hypot1, act_hypot1(x), ref_hypot1) \
    X(sign, act_sign(x), ref_sign) \
    X(pow, act_pow(x, c), ref_pow) \
    X(expsq, act_expsq_hi(x, c) * act_expsq_lo(x, c), ref_expsq) \
    X(exp_hi, act_exp_hi(x), ref_exp) \
    X(exp_lo, act_exp_lo(x), ref_exp) \
    X(expsq_hi, act_expsq_hi(x, c), ref_expsq) \
    X(expsq_lo, act_expsq_lo(x, c), ref_expsq) \
    X(min, act_min(x, c), ref_min) \
    X(max, act_max(x, c), ref_max) \
    X(expn, act_expn(x), ref_exp) \
    X(expn_hi, act_expn_hi(x), ref_exp) \
    X(expn_lo, act_expn_lo(x), ref_exp) \
    X(expsqn, act_expsqn(x, c), ref_expsq) \
    X(expsqn_hi, act_expsqn_hi(x, c), ref_expsq) \
    X(expsqn_lo, act_expsqn_lo(x, c), ref_expsq) \
    X(log1p_unit, act_log1p_unit(x), ref_log1p) \
    X(mills, act_mills_of(x, act_mills_w(x)), ref_mills) \
    X(tanh_by_expm1, __builtin_copysignf(act_tanh_above(x) / act_tanh_below(x), x), ref_tanh) \
    X(expm1n, act_expm1n(x), ref_expm1) \
    X(expn_h, act_expn_h(x), ref_exp) \
    X(expsqn_h, act_expsqn_h(x, c), ref_expsq) \
    X(log1p_unit_h, act_log1p_unit_h(x), ref_log1p) \
    X(mills_h, act_mills_of_h(act_mills_w_h(x)), ref_mills) \
    X(tanh_h, __builtin_copysignf(act_tanh_expm1_h(x) / (2.0f + act_tanh_expm1_h(x)), x), ref_tanh) \
    X(tanhshrink_h, act_tanhshrink_of_h(x, act_tanhshrink_rest_h(x)), ref_tanhshrink) \
    X(expm1n_h, act_expm1n_h(x), ref_expm1) \
    X(mills_mid, act_mills_mid(x), ref_mills) \
    X(mills_mid_h, act_mills_mid_h(x), ref_mills) \
    X(exp_mid, act_exp_mid(x), ref_exp) \
    X(expsq_mid, act_expsq_mid(x, c), ref_expsq) \
    X(expsq2_mid, act_expsq2_mid(x, c), ref_expsq) \
    X(exp_mid_h, act_exp_mid_h(x), ref_exp) \
    X(expsq_mid_h, act_expsq_mid_h(x, c), ref_expsq)

#define LOOP(name, value, reference) \
    static void loop_##name(const float* restrict xs, float c, float* restrict ys, ptrdiff_t n) { \
        (void)c; \
        for (ptrdiff_t i = 0; i < n; i++) { \
            const float x = xs[i]; \
            ys[i] = value; \
        } \
    }
FUNCTIONS(LOOP)

typedef struct {
    const char* name;
    void (*loop)(const float*, float, float*, ptrdiff_t);
    double (*reference)(double, double);
} Entry;
#define ENTRY(name, value, reference) {#name, loop_##name, reference},
static const Entry table[] = {FUNCTIONS(ENTRY)};

static const Entry* find(const char* name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0) return table + i;
    return NULL;
}

/* |y - exact| in ULP of the exact value, floored at the smallest normal; infinity counts as 2^128. */
static double ulp_error(float y, double exact) {
    if (y != y || exact != exact) return (y != y) == (exact != exact) ? 0.0 : INFINITY;
    const double top = ldexp(1.0, 128), got = isinf(y) ? copysign(top, y) : y;
    const double want = fabs(exact) > top ? copysign(top, exact) : exact;
    int e = -125;
    if (want != 0) frexp(want, &e);
    if (e > 128) e = 128;
    return ldexp(fabs(got - want), 24 - (e < -125 ? -125 : e));
}

int act_apply(const char* name, const float* xs, float c, float* ys, ptrdiff_t n) {
    const Entry* entry = find(name);
    if (entry) entry->loop(xs, c, ys, n);
    return entry != NULL;
}

double act_reference(const char* name, double x, double c) {
    const Entry* entry = find(name);
    return entry ? entry->reference(x, c) : NAN;
}

/* Largest error over the encodings start, start + step, ... below stop; *where is the first input that has it. */
double act_worst(const char* name, float c, uint64_t start, uint64_t stop, uint64_t step, float* where) {
    const Entry* entry = find(name);
    float xs[BLOCK], ys[BLOCK];
    double worst = -1;
    if (!entry) return INFINITY;
    for (uint64_t at = start; at < stop;) {
        ptrdiff_t n = 0;
        for (; n < BLOCK && at < stop; at += step) {
            const uint32_t bits = (uint32_t)at;
            memcpy(xs + n++, &bits, 4);
        }
        entry->loop(xs, c, ys, n);
        for (ptrdiff_t i = 0; i < n; i++) {
            const double error = ulp_error(ys[i], entry->reference(xs[i], c));
            if (error > worst) worst = error, *where = xs[i];
        }
    }
    return worst;
}

void act_load(int bfloat, const uint16_t* in, float* out, int n) {
    if (bfloat) act_load_bf16(in, out, n);
    else act_load_f16(in, out, n);
}
void act_store(int bfloat, const float* in, uint16_t* out, int n) {
    if (bfloat) act_store_bf16(in, out, n);
    else act_store_f16(in, out, n);
}
