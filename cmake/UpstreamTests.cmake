# Upstream's own tests against the patched tree, if asked for; nothing of them goes into the wheel. They lie in
# upstream-tests/ of the build folder.
if(LLAMASMITH_UPSTREAM_TESTS)
    set(fetch vendor/fetch.py --tests --dest "${PROJECT_BINARY_DIR}/upstream-tests-source")
    if(LLAMASMITH_LLAMA_CPP_DIR)
        list(APPEND fetch --from "${LLAMASMITH_LLAMA_CPP_DIR}")
    endif()
    llamasmith_python(COMMAND ${fetch} FAILS_WITH "upstream's tests cannot be delivered"
        FORGET LLAMASMITH_UPSTREAM_TESTS LLAMASMITH_LLAMA_CPP_DIR)
    ExternalProject_Add(upstream-tests
        SOURCE_DIR "${PROJECT_SOURCE_DIR}/cmake/upstream-tests"
        BINARY_DIR "${PROJECT_BINARY_DIR}/upstream-tests"
        PREFIX "${PROJECT_BINARY_DIR}/upstream-tests-prefix"
        CMAKE_CACHE_ARGS
            ${LLAMASMITH_SUB_BUILD_ARGS}
            "-DTESTS_TREE:PATH=${LLAMASMITH_PATCHED}"
            "-DTESTS_SOURCE:PATH=${PROJECT_BINARY_DIR}/upstream-tests-source"
            "-DTESTS_CPU_FLAGS:STRING=${LLAMASMITH_CPU_FLAGS}"
            ${LLAMASMITH_ENGINE_ARGS}
        BUILD_COMMAND ${CMAKE_COMMAND} --build <BINARY_DIR> ${jobs}
        INSTALL_COMMAND ""
        BUILD_ALWAYS ON
        USES_TERMINAL_BUILD ON
        DEPENDS ${previous}) # the last engine: one sub-build after another
endif()
