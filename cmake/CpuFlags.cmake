# Instruction sets for a static build of ggml-cpu that is no engine: what is given, else this machine's without AMX,
# untried: it is nobody's subject in these builds, and some compilers get it wrong (docs/building.md).
include(CheckCCompilerFlag)

function(llamasmith_cpu_flags target given)
    set(flags ${given})
    if(NOT flags AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
        set(flags -march=native)
        check_c_compiler_flag(-mno-amx-tile LLAMASMITH_KNOWS_AMX)
        if(LLAMASMITH_KNOWS_AMX)
            list(APPEND flags -mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
        endif()
    elseif(NOT flags)
        set(flags -mcpu=native)
    endif()
    target_compile_options(${target} PRIVATE ${flags})
endfunction()
