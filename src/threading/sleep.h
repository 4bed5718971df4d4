// How a thread sleeps until there is something for it to do, and is woken.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct smith_steps;
struct smith_wait;

// Wakes thread `ith` of the pool if it sleeps.
void smith_wake(struct smith_wait * wait, int ith);

// Returns when thread `ith` has been woken, or at once if `step` is over already. Thread 0 is always active, and never
// called out: it has a graph to end.
void smith_sleep(struct smith_wait * wait, int ith, uint64_t step);

// Whether the workers must go back to upstream's loop.
bool smith_must_leave(const struct smith_steps * steps);

// Whether thread `ith` is to work on this graph.
bool smith_is_active(const struct smith_steps * steps, int ith);
