# The patched copy of upstream's tree, in the build tree. Stamped: an unchanged series costs nothing.
set(LLAMASMITH_PATCHED "${PROJECT_BINARY_DIR}/patched/llama.cpp")
llamasmith_python(
    COMMAND -m llamasmith.patchset apply
        --tree "${LLAMASMITH_VENDOR}"
        --series "${PROJECT_SOURCE_DIR}/patches/series"
        --dest "${LLAMASMITH_PATCHED}"
        "--extra=${LLAMASMITH_EXTRA_PATCHES}"
        "--skip=${LLAMASMITH_SKIP_PATCHES}"
        --code-dir "${PROJECT_SOURCE_DIR}/src/threading"
        --code-dir "${PROJECT_SOURCE_DIR}/src/memory"
        --code-dir "${PROJECT_SOURCE_DIR}/src/rpc"
        --code-dir "${PROJECT_SOURCE_DIR}/src/blas"
        --manifest "${PROJECT_BINARY_DIR}/patchset.json"
    FAILS_WITH "the patch series does not apply"
    FORGET LLAMASMITH_EXTRA_PATCHES LLAMASMITH_SKIP_PATCHES)

file(GLOB patches "${PROJECT_SOURCE_DIR}/patches/*.patch")
file(GLOB code "${PROJECT_SOURCE_DIR}/src/threading/*" "${PROJECT_SOURCE_DIR}/src/memory/*" "${PROJECT_SOURCE_DIR}/src/rpc/*" "${PROJECT_SOURCE_DIR}/src/blas/*")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/patches/series" ${patches} ${code} ${LLAMASMITH_EXTRA_PATCHES})
