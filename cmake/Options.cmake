# What a user may ask for. cmake/options.py refuses what nobody knows: a definition that is silently ignored is how
# people get a CPU-only build and learn of it months later.
set(LLAMASMITH_ENGINES "patched;upstream;upstream-openmp" CACHE STRING
    "Engines to build: patched (our series), upstream (pristine); with OpenMP: upstream-openmp, patched-openmp")
set(LLAMASMITH_BACKENDS "" CACHE STRING
    "Backends to build: cpu, openblas, cuda, rpc; cpu if nothing is said. Without cpu: nothing but these backends")
set(LLAMASMITH_OPENBLAS "auto" CACHE STRING
    "Where OpenBLAS is taken from: wheel (the package scipy-openblas32), system, or auto (the first that is there)")
set(LLAMASMITH_CUDA_ARCHITECTURES "" CACHE STRING
    "GPUs to build the backend cuda for: native, or 86-real;90-virtual and so on; empty for a list of the usual ones")
set(LLAMASMITH_CUDA_MAJOR "" CACHE STRING "The major version that the CUDA toolkit must have; empty for any")
set(LLAMASMITH_CPU "native" CACHE STRING
    "CPU to build the engines for: native (this machine), baseline (x86-64-v2, ARMv8-A), dispatch (any, chosen at run)")
set(LLAMASMITH_CPU_VARIANTS "" CACHE STRING "Variants that dispatch builds, separated by semicolons; empty: all")
set(LLAMASMITH_EXTRA_PATCHES "" CACHE STRING "Your own patch files, applied after ours, separated by semicolons")
set(LLAMASMITH_SKIP_PATCHES "" CACHE STRING "Names of our patches to leave out, separated by semicolons")
set(LLAMASMITH_TOOLS OFF CACHE BOOL "Also build upstream's llama-bench, llama-batched-bench, llama-quantize, llama-perplexity, llama-server")
set(LLAMASMITH_UPSTREAM_TESTS OFF CACHE BOOL "Also build upstream's own tests of the CPU backend, in the build folder")

find_package(OpenMP COMPONENTS C CXX QUIET)

# Everything in the cache with one of our prefixes, with its help text: the script tells a user's word from CMake's own.
set(listing "")
set(listed "")
get_cmake_property(names CACHE_VARIABLES)
foreach(name IN LISTS names)
    if(name MATCHES "^(GGML|LLAMA|LLAMASMITH)_")
        get_property(help CACHE ${name} PROPERTY HELPSTRING)
        get_property(type CACHE ${name} PROPERTY TYPE)
        list(APPEND listed ${name})
        string(APPEND listing "${name}\t${type}\t${help}\t$CACHE{${name}}\n")
    endif()
endforeach()
file(WRITE "${PROJECT_BINARY_DIR}/options.tsv" "${listing}")

# Writes options.cmake (LLAMASMITH_ENGINES_BUILT, LLAMASMITH_BACKENDS_BUILT, LLAMASMITH_ENGINE_ARGS ...) and options.json.
llamasmith_python(
    COMMAND cmake/options.py
        --listing "${PROJECT_BINARY_DIR}/options.tsv"
        --vendor "${LLAMASMITH_VENDOR}"
        --openmp "${OpenMP_FOUND}"
        --compiler "${CMAKE_C_COMPILER}"
        --compiler-id "${CMAKE_C_COMPILER_ID}"
        --processor "${CMAKE_SYSTEM_PROCESSOR}"
        --out "${PROJECT_BINARY_DIR}"
    FAILS_WITH "an option is not understood"
    FORGET ${listed})
include("${PROJECT_BINARY_DIR}/options.cmake")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
