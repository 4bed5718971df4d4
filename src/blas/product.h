// A product of the BLAS backend, computed by the threads of the CPU engine.
#pragma once

struct ggml_tensor;

// dst = src0 * src1, as GGML_OP_MUL_MAT has it; the shapes are those that smith_blas_takes() lets pass. False: nothing
// has been computed, since there is no CPU engine to lend its threads, or no memory; the caller does it by itself.
bool smith_blas_mul_mat(struct ggml_tensor * dst, int n_threads);
