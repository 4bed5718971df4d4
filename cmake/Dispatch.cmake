# LLAMASMITH_CPU=dispatch: which variants each engine is built in. cmake/variants.py is the table; it writes variants.json,
# which goes beside the modules, and LLAMASMITH_VARIANTS_BUILT.
set(LLAMASMITH_VARIANTS_BUILT "")
if(LLAMASMITH_CPU STREQUAL "dispatch")
    llamasmith_python(
        COMMAND cmake/variants.py
            --compiler "${CMAKE_C_COMPILER}"
            "--c-flags=${CMAKE_C_FLAGS}"
            --cxx-compiler "${CMAKE_CXX_COMPILER}"
            "--cxx-flags=${CMAKE_CXX_FLAGS}"
            --processor "${CMAKE_SYSTEM_PROCESSOR}"
            "--asked=${LLAMASMITH_CPU_VARIANTS}"
            --out "${PROJECT_BINARY_DIR}"
        FAILS_WITH "the variants cannot be built"
        FORGET LLAMASMITH_CPU LLAMASMITH_CPU_VARIANTS)
    include("${PROJECT_BINARY_DIR}/variants.cmake")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/variants.py")
endif()
list(TRANSFORM LLAMASMITH_VARIANTS_BUILT PREPEND "ggml-cpu-" OUTPUT_VARIABLE LLAMASMITH_ENGINE_TARGETS)
if(NOT LLAMASMITH_ENGINE_TARGETS)
    set(LLAMASMITH_ENGINE_TARGETS ggml-cpu)
endif()
