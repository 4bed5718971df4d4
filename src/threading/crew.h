// How many of its threads a pool may use just now.
#pragma once

#include <stdint.h>

// A pool's place among those of this process. Graphs that are computed at once share the CPUs.
struct smith_crew;
struct smith_crew * smith_crew_join(void);
void                smith_crew_leave(struct smith_crew * crew);

// The crew of the pool begins a graph, or has ended it.
void smith_crew_begin(struct smith_crew * crew);
void smith_crew_end(struct smith_crew * crew);

// How many of `n_threads` threads may work on its graph just now, on `n_cpus` CPUs (0: those that the calling thread may
// run on).
int smith_crew_share(const struct smith_crew * crew, int n_threads, int n_cpus);
