#include "border.h"

#include "steps.h"
#include "wait.h"

int smith_prepares(void) {
    return smith_self == NULL || smith_self->phase != SMITH_PRODUCE;
}

int smith_border(struct ggml_threadpool * threadpool) {
    switch (smith_self == NULL ? SMITH_WHOLE : smith_self->phase) {
        case SMITH_PREPARE: smith_self->bordered = true; return 0;
        case SMITH_PRODUCE: return 1;
        default:            ggml_barrier(threadpool); return 1;
    }
}

bool smith_in_step(void) {
    return smith_self != NULL && smith_self->phase != SMITH_WHOLE;
}

int64_t smith_first_job(int ith, int64_t n_jobs) {
    if (!smith_in_step()) {
        return ith;
    }
    smith_self->first_job = smith_self->end_job;
    smith_self->end_job += n_jobs;
    return smith_self->job - smith_self->first_job;
}

int64_t smith_next_job(struct ggml_threadpool * threadpool) {
    const int job = ggml_threadpool_chunk_add(threadpool, 1);
    if (!smith_in_step()) {
        return job;
    }
    smith_self->job = job;
    return job - smith_self->first_job;
}
