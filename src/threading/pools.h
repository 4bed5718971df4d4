// Pools of the engine's own, for graphs of programs that attach none: they live on for the next graph.
#pragma once

struct ggml_threadpool;

// A pool of exactly `n_threads` threads, made now or left by an earlier graph, for the caller alone until it gives it back;
// NULL where there is none to be had. One that was left was made for the same CPUs, by this process.
struct ggml_threadpool * smith_pools_take(int n_threads);

// NULL is allowed, and does nothing.
void smith_pools_give(struct ggml_threadpool * threadpool);
