# The backend cuda: llama.cpp's ggml-cuda, with the toolkit and for the GPUs that ../CudaToolkit.cmake has found.
foreach(choice
        GGML_CUDA_NO_VMM=ON    # else the module needs libcuda.so.1, and cannot be loaded where there is no driver
        GGML_CUDA_NCCL=OFF     # else it needs libnccl where the build machine happens to have it
        GGML_CUDA_GRAPHS=ON)   # llama.cpp's default; ggml's own is OFF
    string(REPLACE "=" ";" choice "${choice}")
    list(GET choice 0 name)
    list(GET choice 1 value)
    if(NOT DEFINED ${name})    # else the user has said it
        set(${name} ${value})
    endif()
endforeach()
set(GGML_CUDA ON)

# No path of this machine in the module: nvcc's host compiler is told what the others are (Reproducible.cmake).
string(REGEX MATCHALL "-ffile-prefix-map=[^ \"]+" maps "${CMAKE_CXX_FLAGS}")
foreach(map IN LISTS maps)
    string(APPEND CMAKE_CUDA_FLAGS " -Xcompiler=${map}")
endforeach()

function(finish_backend target)
    # A hundred kernels: their names are a sixth of the module, and nobody's but a debugger's.
    target_link_options(${target} PRIVATE $<$<CONFIG:Release>:LINKER:--strip-all>)
endfunction()
