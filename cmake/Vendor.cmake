# Makes vendor/llama.cpp present and verified.
set(LLAMASMITH_LLAMA_CPP_DIR "" CACHE PATH
    "Directory with the pinned llama.cpp (a checkout or an unpacked archive), instead of fetching it")

set(fetch vendor/fetch.py)
if(LLAMASMITH_LLAMA_CPP_DIR)
    list(APPEND fetch --from "${LLAMASMITH_LLAMA_CPP_DIR}")
endif()
llamasmith_python(COMMAND ${fetch} FAILS_WITH "the pinned llama.cpp cannot be delivered"
    FORGET LLAMASMITH_LLAMA_CPP_DIR)

set(LLAMASMITH_VENDOR "${PROJECT_SOURCE_DIR}/vendor/llama.cpp")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/vendor/UPSTREAM.toml" "${PROJECT_SOURCE_DIR}/vendor/fetch.py")
