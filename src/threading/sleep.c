#include "sleep.h"

#include "park.h"
#include "steps.h"
#include "wait.h"

// A thread sets its flag and looks once more at what it waits for before it sleeps; whoever changes that
// looks at the flag afterwards. All of it sequentially consistent, so one of the two sees the other. The count spares
// a finisher the look at every flag.

void smith_wake(struct smith_wait * wait, int ith) {
    struct smith_slot * slot = &wait->slots[ith];
    if (atomic_load_explicit(&slot->asleep, memory_order_seq_cst) == SMITH_AWAKE) {
        return;
    }
    const int was = atomic_exchange_explicit(&slot->asleep, SMITH_AWAKE, memory_order_seq_cst);
    if (was == SMITH_NAPS) {
        atomic_fetch_sub_explicit(&wait->steps.n_asleep, 1, memory_order_seq_cst);
    }
    if (was != SMITH_AWAKE) {
        smith_unpark_all(&slot->asleep);
    }
}

bool smith_must_leave(const struct smith_steps * steps) {
    return atomic_load_explicit(&steps->leave, memory_order_seq_cst) ||
           !atomic_load_explicit(&steps->on, memory_order_seq_cst);
}

bool smith_is_active(const struct smith_steps * steps, int ith) {
    return ith < atomic_load_explicit(&steps->n_active, memory_order_seq_cst);
}

void smith_sleep(struct smith_wait * wait, int ith, uint64_t step) {
    struct smith_steps * steps = &wait->steps;
    struct smith_slot *  slot  = &wait->slots[ith];
    const bool           naps  = smith_is_active(steps, ith);
    const int            sleep = naps ? SMITH_NAPS : SMITH_SLEEPS;
    atomic_store_explicit(&slot->absent, true, memory_order_relaxed);
    atomic_fetch_add_explicit(&steps->n_asleep, naps, memory_order_seq_cst);
    atomic_store_explicit(&slot->asleep, sleep, memory_order_seq_cst);
    const bool nothing_new = naps ? atomic_load_explicit(&steps->step, memory_order_seq_cst) == step : !smith_is_active(steps, ith);
    if (nothing_new && (ith == 0 || !smith_must_leave(steps))) {
        smith_count(&slot->parks, 1);
        while (atomic_load_explicit(&slot->asleep, memory_order_seq_cst) == sleep) {
            smith_park(&slot->asleep, sleep);
        }
        return; // whoever woke this thread has taken it off the count
    }
    if (atomic_exchange_explicit(&slot->asleep, SMITH_AWAKE, memory_order_seq_cst) == SMITH_NAPS) {
        atomic_fetch_sub_explicit(&steps->n_asleep, 1, memory_order_seq_cst);
    }
}
