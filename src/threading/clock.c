#include "clock.h"

#include <stdatomic.h>

// Long enough that the two pairs of readings, some 50 ns each, weigh nothing.
#define CALIBRATION_NS 100000u

uint64_t smith_ticks_per_us(void) {
    static atomic_uint_fast64_t known;
    uint64_t                    per_us = atomic_load_explicit(&known, memory_order_relaxed);
    if (per_us == 0) {
        const uint64_t ticks = smith_ticks();
        const uint64_t ns    = smith_nanoseconds();
        uint64_t       later = ns;
        while (later - ns < CALIBRATION_NS) {
            later = smith_nanoseconds();
        }
        per_us = (smith_ticks() - ticks) * 1000 / (later - ns);
        per_us = per_us > 0 ? per_us : 1;
        atomic_store_explicit(&known, per_us, memory_order_relaxed);
    }
    return per_us;
}
