# Our code in ggml's CPU backend. The one list of its files: cmake/engine and tests/native compile them.
function(llamasmith_add_threading target)
    set(dir "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
    cmake_path(GET dir PARENT_PATH include)
    target_include_directories(${target} PRIVATE "${include}")
    target_sources(${target} PRIVATE
        "${dir}/attached.c"
        "${dir}/border.c"
        "${dir}/clock.c"
        "${dir}/crew.c"
        "${dir}/group.c"
        "${dir}/names.c"
        "${dir}/nodes.c"
        "${dir}/park.c"
        "${dir}/pools.c"
        "${dir}/proc.c"
        "${dir}/share.c"
        "${dir}/sleep.c"
        "${dir}/steps.c"
        "${dir}/wait.c")
endfunction()
