# llama.cpp's own distributed engine.
set(GGML_RPC ON)
set(GGML_RPC_RDMA OFF) # links libibverbs if the build machine happens to have it

function(finish_backend target)
endfunction()
