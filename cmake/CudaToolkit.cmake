# A CUDA toolkit from the system or from wheels of the package index, and the GPUs that the backend cuda is built for.
# Stops here, with the names of what to install, and not in the midst of a build. Tells Backends.cmake what it wants to
# know of every backend.
set(wanted "${LLAMASMITH_CUDA_ARCHITECTURES}")
if(NOT wanted)
    set(wanted "${CMAKE_CUDA_ARCHITECTURES}") # how other packages call it
endif()
llamasmith_python(
    COMMAND cmake/cuda_toolkit.py
        "--root=${CUDAToolkit_ROOT}"
        "--architectures=${wanted}"
        "--major=${LLAMASMITH_CUDA_MAJOR}"
        --out "${PROJECT_BINARY_DIR}"
    FAILS_WITH "the backend cuda cannot be built"
    FORGET LLAMASMITH_CUDA_ARCHITECTURES CMAKE_CUDA_ARCHITECTURES LLAMASMITH_CUDA_MAJOR CUDAToolkit_ROOT)

# LLAMASMITH_CUDA_ROOT, _COMPILER, _VERSION, _BUILT_FOR, _FROM
include("${PROJECT_BINARY_DIR}/cuda-toolkit.cmake")

string(REGEX MATCH "^[0-9]+" major "${LLAMASMITH_CUDA_VERSION}")
set(cuda_PACKAGE llamasmith_cuda${major})
set(cuda_RPATH nvidia/cu${major}/lib) # below site-packages, where NVIDIA's wheels put it
set(cuda_NEEDS
    "libcudart.so.${major}=pip install 'nvidia-cuda-runtime==${major}.*'"
    "libcublas.so.${major}=pip install 'nvidia-cublas==${major}.*'")
list(JOIN LLAMASMITH_CUDA_BUILT_FOR " " for)
set(cuda_FACTS "cuda=${LLAMASMITH_CUDA_VERSION}" "architectures=${for}" "from=${LLAMASMITH_CUDA_FROM}")
set(cuda_ARGS
    "-DCUDAToolkit_ROOT:PATH=${LLAMASMITH_CUDA_ROOT}"
    "-DCMAKE_CUDA_COMPILER:FILEPATH=${LLAMASMITH_CUDA_COMPILER}"
    "-DCMAKE_CUDA_HOST_COMPILER:FILEPATH=${CMAKE_CXX_COMPILER}"
    "-DCMAKE_CUDA_ARCHITECTURES:STRING=${LLAMASMITH_CUDA_BUILT_FOR}")
