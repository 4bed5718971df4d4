# A project of its own that builds one loadable module of ggml's, by ggml's own CMake: what engines and backends share.
set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
set(BUILD_SHARED_LIBS ON)
set(CMAKE_PLATFORM_NO_VERSIONED_SONAME ON)
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
add_link_options(LINKER:--disable-new-dtags)                          # our RPATH comes before LD_LIBRARY_PATH
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/lib") # libggml-base to link with; not shipped

set(GGML_BACKEND_DL ON)
set(GGML_NATIVE OFF)
set(GGML_ALL_WARNINGS OFF)                                            # warnings are for our own code
set(GGML_BUILD_TESTS OFF)
set(GGML_BUILD_EXAMPLES OFF)
