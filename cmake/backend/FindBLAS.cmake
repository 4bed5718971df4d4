# The BLAS that was found before, for ggml's find_package(BLAS).
set(BLAS_LIBRARIES "${BACKEND_BLAS_LIBRARY}")
set(BLAS_FOUND TRUE)
