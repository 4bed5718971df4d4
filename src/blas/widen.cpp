#include "blas/widen.h"

#if defined(__x86_64__) && defined(__GNUC__)
#    include <immintrin.h>
#    define WIDEN_X86 1
#endif

// ggml-base is compiled for any CPU, and so are its conversions. Those that the rule takes are worth more.
#ifdef WIDEN_X86
__attribute__((target("avx2,f16c"))) static int64_t f16_by_8(const void * from, float * to, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) ((const uint16_t *) from + i))));
    }
    return i;
}

__attribute__((target("avx2"))) static int64_t bf16_by_8(const void * from, float * to, int64_t n) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) ((const uint16_t *) from + i)));
        _mm256_storeu_ps(to + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
    }
    return i;
}

static int64_t by_8(enum ggml_type type, const void * from, float * to, int64_t n) {
    // asks the compiler's run time, which knows the state of the operating system too
    static const bool can = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
    if (!can) {
        return 0;
    }
    switch (type) {
        case GGML_TYPE_F16:  return f16_by_8(from, to, n);
        case GGML_TYPE_BF16: return bf16_by_8(from, to, n);
        default:             return 0;
    }
}
#endif

void smith_widen(enum ggml_type type, const void * from, float * to, int64_t n) {
    int64_t done = 0;
#ifdef WIDEN_X86
    done = by_8(type, from, to, n);
#endif
    if (done < n) { // all of it, or the rest of a row of F16 or BF16
        ggml_get_type_traits(type)->to_float((const char *) from + done * ggml_type_size(type), to + done, n - done);
    }
}
