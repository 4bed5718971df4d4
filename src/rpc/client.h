// What the patched RPC client of llama.cpp (patches/rpc-*.patch) calls: connections that are made within seconds, whose
// end is noticed, and that may end. Knows sockets; neither Python nor libllama.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sockaddr;

// Connects a fresh IPv4 socket within seconds, and sees to it that a vanished server is noticed. Like connect(), but
// the socket is closed where it fails. The calling thread's why() then says what is wrong.
int smith_rpc_dial(int fd, const struct sockaddr * address, size_t size);

// The server has greeted: from now on, an answer may take as long as a graph does.
void smith_rpc_greeted(void);

// No greeting came, or none that is understood; says so in why(). `answered` is what came: major, minor and patch
// version, or NULL.
void smith_rpc_not_greeted(const uint8_t * answered);

// After a failed send() or recv(): whether there is reason to go on waiting.
bool smith_rpc_go_on(int fd);

// Of an accepted connection: notices a client that has vanished, for the next one waits until this one is gone.
void smith_rpc_watch(int fd);

// What an answer would have been in `output`, if there was a server: such that nothing in llama.cpp stops the process,
// and that every allocation fails. `cmd` is upstream's number of the command.
void smith_rpc_stand_in(int cmd, void * output, size_t size);

// Why this thread's last connection was not made.
const char * smith_rpc_why(void);

// By name, through the registry's get_proc_address. A connection lives until it is released or its last buffer is gone.
#define SMITH_PROC_RPC_CONNECT "smith_rpc_connect"
#define SMITH_PROC_RPC_LOST    "smith_rpc_lost"
#define SMITH_PROC_RPC_RELEASE "smith_rpc_release"
// Returns NULL and fills `why` if there is no server that greets; else `n_devices` is what it lends.
typedef void * (*smith_rpc_connect_t)(const char * endpoint, uint32_t * n_devices, char * why, size_t size);
// Whether the connection has ended. For good: its buffers are gone.
typedef bool (*smith_rpc_lost_t)(const void * connection);
typedef void (*smith_rpc_release_t)(void * connection);

#ifdef __cplusplus
}
#endif
