# One sub-build for each engine: upstream's own CMake builds the module, so a pristine engine is what upstream builds.
# Our code is compiled in where the patched tree calls it. Without the patch that does (LLAMASMITH_SKIP_PATCHES), it
# would need a function that the patch defines, and the engine could not be loaded. src/memory does nothing then.
file(STRINGS "${LLAMASMITH_PATCHED}/ggml/src/ggml-cpu/ggml-cpu.c" calls_ours REGEX "ggml_threadpool_smith_wait")

list(JOIN LLAMASMITH_VARIANTS_BUILT "," variants) # no list survives a command line as one

set(previous llamasmith-upstream)
foreach(engine IN LISTS LLAMASMITH_ENGINES_BUILT)
    set(tree "${LLAMASMITH_VENDOR}")
    set(threading "")
    set(memory "")
    set(openmp OFF)
    if(engine MATCHES "^patched")
        set(tree "${LLAMASMITH_PATCHED}")
        set(memory "${PROJECT_SOURCE_DIR}/src/memory")
        if(calls_ours)
            set(threading "${PROJECT_SOURCE_DIR}/src/threading")
        endif()
    endif()
    if(engine MATCHES "-openmp$")
        set(openmp ON)
    endif()
    list(TRANSFORM LLAMASMITH_ENGINE_TARGETS REPLACE "(.+)" "${PROJECT_BINARY_DIR}/engines/${engine}/lib\\1.so"
        OUTPUT_VARIABLE modules)
    ExternalProject_Add(engine-${engine}
        SOURCE_DIR "${PROJECT_SOURCE_DIR}/cmake/engine"
        BINARY_DIR "${PROJECT_BINARY_DIR}/engine-${engine}"
        PREFIX "${PROJECT_BINARY_DIR}/engine-${engine}-prefix"
        CMAKE_CACHE_ARGS
            ${LLAMASMITH_SUB_BUILD_ARGS}
            "-DENGINE_GGML_DIR:PATH=${tree}/ggml"
            "-DENGINE_OUTPUT_DIR:PATH=${PROJECT_BINARY_DIR}/engines/${engine}"
            "-DENGINE_THREADING_DIR:PATH=${threading}"
            "-DENGINE_MEMORY_DIR:PATH=${memory}"
            "-DENGINE_CPU_FLAGS:STRING=${LLAMASMITH_CPU_FLAGS}"
            "-DENGINE_VARIANTS:STRING=${variants}"
            "-DGGML_OPENMP:BOOL=${openmp}"
            ${LLAMASMITH_ENGINE_ARGS}
        BUILD_COMMAND ${CMAKE_COMMAND} --build <BINARY_DIR> --target ${LLAMASMITH_ENGINE_TARGETS} ${jobs}
        INSTALL_COMMAND ""
        BUILD_ALWAYS ON            # ninja in the sub-build knows what is up to date, we do not
        BUILD_BYPRODUCTS ${modules}
        USES_TERMINAL_BUILD ON     # shows progress, and keeps the sub-builds from running all at once
        DEPENDS ${previous})
    set(previous engine-${engine})
endforeach()
