// Which pool the caller's context computes with: for a backend of another module, which has work for the same threads
// between two parts of a graph, and must not bring threads of its own that fight with them.
#pragma once

struct ggml_backend;
struct ggml_threadpool;

// ggml_backend_cpu_set_threadpool(), which llama.cpp calls before each graph; remembers the pool for the calling thread.
void smith_attach(struct ggml_backend * backend, struct ggml_threadpool * threadpool);

// The pool that the calling thread has attached last, and its number of threads; NULL if there is none, or if any pool
// has ended since then: it may have been this one.
struct ggml_threadpool * smith_attached(int * n_threads);

// A pool ends.
void smith_attached_ends(void);
