// The cheapest clock and the cheapest pause of each architecture.
#pragma once

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

// Two lines are prefetched together on current x86, but ggml aligns to one: we follow it.
#define SMITH_CACHE_LINE 64

static inline uint64_t smith_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000000000u + (uint64_t) now.tv_nsec;
}

// Ticks of unknown but constant length; smith_ticks_per_us() converts them.
static inline uint64_t smith_ticks(void) {
#if defined(__x86_64__) || defined(__i386__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return smith_nanoseconds();
#endif
}

// How many ticks there are in a microsecond, at least 1. Measured on the first call, which takes 100 microseconds.
uint64_t smith_ticks_per_us(void);

// How many pauses one is: more than 1 stands in for a CPU on which a pause is dearer (measurements only).
#ifndef SMITH_PAUSES
#define SMITH_PAUSES 1
#endif

// Tells the core that this is a waiting loop. 4 to 140 cycles on x86, depending on its generation.
static inline void smith_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#elif defined(__riscv)
    __asm__ volatile(".4byte 0x100000F" ::: "memory"); // pause, by its encoding: old assemblers lack the name
#else
    __asm__ volatile("" ::: "memory");
#endif
}

static inline void smith_relax(void) {
    for (int i = 0; i < SMITH_PAUSES; i++) {
        smith_pause();
    }
}
