// How many of its threads a pool may use just now.
#pragma once

#include <stdint.h>

// CPUs that this process may really use, as the caller knows it (it may know of quotas); 0: count the CPUs that the
// threads may run on.
void smith_set_budget(int n_cpus);
int  smith_get_budget(void);

// A pool's place among those of this process. Graphs that are computed at once share the CPUs.
struct smith_crew;
struct smith_crew * smith_crew_join(void);
void                smith_crew_leave(struct smith_crew * crew);

// The crew of the pool begins a graph, or has ended it. Returns how many of `n_threads` threads may work on it.
int  smith_crew_begin(struct smith_crew * crew, int n_threads);
void smith_crew_end(struct smith_crew * crew);
