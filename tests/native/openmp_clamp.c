// A graph planned for more threads than the attached pool has. Built with OpenMP and AddressSanitizer: upstream's
// OpenMP path reads the state of workers that do not exist (heap-buffer-overflow). Clamped, it says so and computes.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ggml-cpu.h"
#include "ggml.h"

#define IN_POOL 1
#define ASKED   4
#define ROWS    64

static int warnings;

static void on_log(enum ggml_log_level level, const char * text, void * data) {
    (void) data;
    if (level == GGML_LOG_LEVEL_WARN && strstr(text, "more threads (4) than available (1)") != NULL) {
        warnings++;
    }
    fputs(text, stderr);
}

int main(void) {
    ggml_log_set(on_log, NULL);

    struct ggml_init_params memory = { .mem_size = 16 * 1024 * 1024, .mem_buffer = NULL, .no_alloc = false };
    struct ggml_context *   ctx    = ggml_init(memory);
    struct ggml_tensor *    a      = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, ROWS, ROWS);
    struct ggml_tensor *    b      = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, ROWS, ROWS);
    struct ggml_tensor *    out    = ggml_mul_mat(ctx, a, b);
    struct ggml_cgraph *    graph  = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, out);
    for (int i = 0; i < ROWS * ROWS; i++) {
        ((float *) a->data)[i] = 1.0f;
        ((float *) b->data)[i] = 2.0f;
    }

    struct ggml_threadpool_params params = ggml_threadpool_params_default(IN_POOL);
    struct ggml_threadpool *      pool   = ggml_threadpool_new(&params);
    struct ggml_cplan             plan   = ggml_graph_plan(graph, ASKED, pool);
    plan.work_data                       = malloc(plan.work_size > 0 ? plan.work_size : 1);

    const enum ggml_status status = ggml_graph_compute(graph, &plan);
    int                    wrong  = 0;
    for (int i = 0; i < ROWS * ROWS; i++) {
        wrong += ((const float *) out->data)[i] != 2.0f * ROWS;
    }

    free(plan.work_data);
    ggml_threadpool_free(pool);
    ggml_free(ctx);
    printf("status %d, %d wrong values, %d warnings\n", status, wrong, warnings);
    return status == GGML_STATUS_SUCCESS && wrong == 0 && warnings == 1 ? 0 : 1;
}
