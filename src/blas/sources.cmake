# Our code in ggml's BLAS backend, called by the patch blas-where-it-pays. The one list of its files.
function(llamasmith_add_blas target)
    set(dir "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
    cmake_path(GET dir PARENT_PATH include)
    target_include_directories(${target} PRIVATE "${include}")
    target_sources(${target} PRIVATE
        "${dir}/engine.cpp"
        "${dir}/product.cpp"
        "${dir}/rule.cpp"
        "${dir}/threads.c"
        "${dir}/widen.cpp")
    # The number of threads goes through us, so that OPENBLAS_NUM_THREADS of the environment is not overruled; but where
    # the pool computes, OpenBLAS's own threads never do.
    target_compile_options(${target} PRIVATE "SHELL:-include \"${dir}/threads.h\"")
    set_source_files_properties("${dir}/product.cpp" "${dir}/threads.c" TARGET_DIRECTORY ${target}
        PROPERTIES COMPILE_DEFINITIONS SMITH_OPENBLAS_ITSELF)
    target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS})
endfunction()
