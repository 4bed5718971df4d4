# libllama, libggml and libggml-base, shared by all engines, and upstream's tools if asked for; all from the patched
# copy. Upstream's options are set as plain variables of this one scope (CMP0077), so nothing is forced into the cache.
set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)

set(BUILD_SHARED_LIBS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_PLATFORM_NO_VERSIONED_SONAME ON)        # a wheel cannot carry the links libx.so -> libx.so.0
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN")                # neighbours in lib/, and no folder outside of the package
add_link_options(LINKER:--disable-new-dtags)      # before LD_LIBRARY_PATH, where another llama.cpp may lie

set(GGML_BACKEND_DL ON)           # engines are loadable modules
set(GGML_CPU OFF)                 # ... built by Engines.cmake, one by one
set(GGML_OPENMP OFF)              # only an engine whose name ends in -openmp may bring libgomp into the process
set(GGML_NATIVE OFF)              # upstream refuses it beside BACKEND_DL; engines get their flags from Options.cmake
set(LLAMA_ALL_WARNINGS OFF)       # warnings are for our own code
foreach(backend BLAS CUDA RPC)    # sub-builds too, in Backends.cmake; a user's GGML_BLAS=ON is an alias for one
    set(GGML_${backend} OFF)
endforeach()
set(LLAMA_BUILD_NUMBER 0)         # else taken from any git repository around the build folder
set(LLAMA_BUILD_COMMIT "${LLAMASMITH_PIN}")
set(GGML_BUILD_COMMIT "${LLAMASMITH_PIN}") # the same for ggml, which asks git itself:
set(GIT_EXE "")                   # empty and set, so that ggml does not look for it
set(LLAMA_BUILD_COMMON ${LLAMASMITH_TOOLS})
set(LLAMA_BUILD_TOOLS ${LLAMASMITH_TOOLS})
set(LLAMA_BUILD_SERVER ${LLAMASMITH_TOOLS})
set(LLAMA_BUILD_TESTS OFF)
set(LLAMA_BUILD_EXAMPLES OFF)
set(LLAMA_BUILD_APP OFF)
set(LLAMA_BUILD_UI OFF)
set(LLAMA_USE_PREBUILT_UI OFF)    # else the build downloads web pages
set(LLAMA_OPENSSL OFF)            # else a wheel needs the build machine's OpenSSL
set(LLAMA_TOOLS_INSTALL OFF)

add_subdirectory("${LLAMASMITH_PATCHED}" "${PROJECT_BINARY_DIR}/upstream" EXCLUDE_FROM_ALL SYSTEM)

# Upstream's option() has put its help text on what the user asked for. Options.cmake tells a user's word by the help
# text that the command line gives; put back, it is still one when CMake runs again.
foreach(name IN LISTS LLAMASMITH_REQUESTED_OF_UPSTREAM)
    set_property(CACHE ${name} PROPERTY HELPSTRING "No help, variable specified on the command line.")
endforeach()

set(LLAMASMITH_LIBRARIES llama ggml ggml-base)
set(LLAMASMITH_TOOL_TARGETS "")
if(LLAMASMITH_TOOLS)
    set(LLAMASMITH_TOOL_TARGETS llama-bench llama-batched-bench llama-quantize llama-perplexity llama-server)
    list(APPEND LLAMASMITH_LIBRARIES llama-common mtmd)
    foreach(tool IN LISTS LLAMASMITH_TOOL_TARGETS)
        list(APPEND LLAMASMITH_LIBRARIES ${tool}-impl)
        set_target_properties(${tool} PROPERTIES INSTALL_RPATH "$ORIGIN;$ORIGIN/../../lib") # lies in engines/<name>/
    endforeach()
endif()
add_custom_target(llamasmith-upstream ALL DEPENDS ${LLAMASMITH_LIBRARIES} ${LLAMASMITH_TOOL_TARGETS})
