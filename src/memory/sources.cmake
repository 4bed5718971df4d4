# Our code for memory in ggml's CPU backend, called by the patch memory-huge-pages. The one list of its files.
function(llamasmith_add_memory target)
    set(dir "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
    cmake_path(GET dir PARENT_PATH include)
    target_include_directories(${target} PRIVATE "${include}")
    target_sources(${target} PRIVATE "${dir}/huge_pages.c")
endfunction()
