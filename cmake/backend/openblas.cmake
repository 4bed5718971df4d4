# OpenBLAS, as cmake/OpenBlas.cmake has found it: BACKEND_BLAS_INCLUDE, BACKEND_BLAS_LIBRARY, BACKEND_BLAS_NAMES.
set(GGML_BLAS ON)
set(GGML_BLAS_VENDOR OpenBLAS)
# ggml's CMake asks find_package for a BLAS, which knows no wheel; FindBLAS.cmake beside this file gives it ours.
list(PREPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}")
set(BLAS_INCLUDE_DIRS "${BACKEND_BLAS_INCLUDE}") # given, pkg-config is not asked

function(finish_backend target)
    target_compile_definitions(${target} PRIVATE ${BACKEND_BLAS_NAMES})
endfunction()
