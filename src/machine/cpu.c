#ifndef _GNU_SOURCE
#define _GNU_SOURCE // syscall()
#endif

#include "machine/cpu.h"

#include <stddef.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Register states in XCR0: an instruction is usable if all that it touches are on.
enum {
    STATE_NONE    = 0,
    STATE_YMM     = 1 << 1 | 1 << 2,                               // SSE, AVX
    STATE_ZMM     = STATE_YMM | 1 << 5 | 1 << 6 | 1 << 7,          // masks, upper halves, upper registers
    STATE_TILES   = 1 << 17 | 1 << 18,                             // configuration, data
    LEAF1_OSXSAVE = 1 << 27,
};

struct feature {
    const char * name;
    size_t       at;      // which register of the facts
    int          bit;
    uint64_t     states;
};

#define IN(field) offsetof(struct smith_cpu_facts, field)

static const struct feature x86[] = {
    { "sse3",        IN(leaf1_ecx),   0,  STATE_NONE  },
    { "ssse3",       IN(leaf1_ecx),   9,  STATE_NONE  },
    { "sse4_1",      IN(leaf1_ecx),   19, STATE_NONE  },
    { "sse4_2",      IN(leaf1_ecx),   20, STATE_NONE  },
    { "movbe",       IN(leaf1_ecx),   22, STATE_NONE  },
    { "popcnt",      IN(leaf1_ecx),   23, STATE_NONE  },
    { "abm",         IN(ext1_ecx),    5,  STATE_NONE  },
    { "bmi1",        IN(leaf7_ebx),   3,  STATE_NONE  },  // VEX-encoded, but for general registers
    { "bmi2",        IN(leaf7_ebx),   8,  STATE_NONE  },
    { "avx",         IN(leaf1_ecx),   28, STATE_YMM   },
    { "f16c",        IN(leaf1_ecx),   29, STATE_YMM   },
    { "fma",         IN(leaf1_ecx),   12, STATE_YMM   },
    { "avx2",        IN(leaf7_ebx),   5,  STATE_YMM   },
    { "avx_vnni",    IN(leaf7_1_eax), 4,  STATE_YMM   },
    { "avx512f",     IN(leaf7_ebx),   16, STATE_ZMM   },
    { "avx512dq",    IN(leaf7_ebx),   17, STATE_ZMM   },
    { "avx512cd",    IN(leaf7_ebx),   28, STATE_ZMM   },
    { "avx512bw",    IN(leaf7_ebx),   30, STATE_ZMM   },
    { "avx512vl",    IN(leaf7_ebx),   31, STATE_ZMM   },
    { "avx512vbmi",  IN(leaf7_ecx),   1,  STATE_ZMM   },
    { "avx512_vnni", IN(leaf7_ecx),   11, STATE_ZMM   },
    { "avx512_bf16", IN(leaf7_1_eax), 5,  STATE_ZMM   },
    { "amx_tile",    IN(leaf7_edx),   24, STATE_TILES },
    { "amx_int8",    IN(leaf7_edx),   25, STATE_TILES },
};

// Linux shows a bit only if it lets it be used.
static const struct feature arm[] = {
    { "asimd",    IN(hwcap),  1,  STATE_NONE },
    { "crc32",    IN(hwcap),  7,  STATE_NONE },
    { "atomics",  IN(hwcap),  8,  STATE_NONE },
    { "fphp",     IN(hwcap),  9,  STATE_NONE },
    { "asimdhp",  IN(hwcap),  10, STATE_NONE },
    { "asimdrdm", IN(hwcap),  12, STATE_NONE },
    { "jscvt",    IN(hwcap),  13, STATE_NONE },
    { "fcma",     IN(hwcap),  14, STATE_NONE },
    { "lrcpc",    IN(hwcap),  15, STATE_NONE },
    { "asimddp",  IN(hwcap),  20, STATE_NONE },
    { "sve",      IN(hwcap),  22, STATE_NONE },
    { "asimdfhm", IN(hwcap),  23, STATE_NONE },
    { "uscat",    IN(hwcap),  25, STATE_NONE },
    { "ilrcpc",   IN(hwcap),  26, STATE_NONE },
    { "flagm",    IN(hwcap),  27, STATE_NONE },
    { "paca",     IN(hwcap),  30, STATE_NONE },
    { "sve2",     IN(hwcap2), 1,  STATE_NONE },
    { "svei8mm",  IN(hwcap2), 9,  STATE_NONE },
    { "svebf16",  IN(hwcap2), 12, STATE_NONE },
    { "i8mm",     IN(hwcap2), 13, STATE_NONE },
    { "bf16",     IN(hwcap2), 14, STATE_NONE },
    { "sme",      IN(hwcap2), 23, STATE_NONE },
};

static const struct feature * row(int arch, int index) {
    const size_t n = arch == SMITH_ARCH_X86_64 ? sizeof(x86) / sizeof(x86[0]) :
                     arch == SMITH_ARCH_AARCH64 ? sizeof(arm) / sizeof(arm[0]) : 0;
    if (index < 0 || (size_t) index >= n) {
        return NULL;
    }
    return arch == SMITH_ARCH_X86_64 ? &x86[index] : &arm[index];
}

const char * smith_cpu_feature_name(int arch, int index) {
    const struct feature * feature = row(arch, index);
    return feature != NULL ? feature->name : NULL;
}

enum smith_feature_state smith_cpu_feature_state(const struct smith_cpu_facts * facts, int index) {
    const struct feature * feature = row(facts->arch, index);
    if (feature == NULL) {
        return SMITH_FEATURE_ABSENT;
    }
    uint64_t word = 0;
    if (facts->arch == SMITH_ARCH_X86_64) {
        uint32_t leaf;
        memcpy(&leaf, (const char *) facts + feature->at, sizeof(leaf));
        word = leaf;
    } else {
        memcpy(&word, (const char *) facts + feature->at, sizeof(word));
    }
    if ((word >> feature->bit & 1) == 0) {
        return SMITH_FEATURE_ABSENT;
    }
    if (feature->states == STATE_NONE) {
        return SMITH_FEATURE_USABLE;
    }
    const uint64_t on = (facts->leaf1_ecx & LEAF1_OSXSAVE) != 0 ? facts->xcr0 : 0;
    if ((on & feature->states) != feature->states || (feature->states == STATE_TILES && !facts->tiles)) {
        return SMITH_FEATURE_BARRED;
    }
    return SMITH_FEATURE_USABLE;
}

#if defined(__x86_64__)
static bool tiles_permitted(void) {
#if defined(__linux__)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // as instruction: the intrinsic needs a compiler flag
    return (uint64_t) high << 32 | low;
}
#endif

void smith_cpu_read(struct smith_cpu_facts * facts) {
    memset(facts, 0, sizeof(*facts));
#if defined(__x86_64__)
    facts->arch = SMITH_ARCH_X86_64;
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        facts->leaf1_ecx = c;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        const unsigned last = a;
        facts->leaf7_ebx    = b;
        facts->leaf7_ecx    = c;
        facts->leaf7_edx    = d;
        if (last >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
            facts->leaf7_1_eax = a;
        }
    }
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
        facts->ext1_ecx = c;
    }
    if ((facts->leaf1_ecx & LEAF1_OSXSAVE) != 0) {
        facts->xcr0 = read_xcr0();
    }
    if ((facts->leaf7_edx >> 24 & 1) != 0 && (facts->xcr0 & STATE_TILES) == STATE_TILES) {
        facts->tiles = tiles_permitted();
    }
#elif defined(__aarch64__) && defined(__linux__)
    facts->arch   = SMITH_ARCH_AARCH64;
    facts->hwcap  = getauxval(AT_HWCAP);
    facts->hwcap2 = getauxval(AT_HWCAP2);
#endif
}
