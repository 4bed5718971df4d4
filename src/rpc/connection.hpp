// What the extension asks of a connection. Included by llama.cpp's ggml-rpc.cpp (patches/rpc-lost-server.patch) behind
// get_dispatcher(): the types that it needs are private there.
#pragma once

#include <cstdio>
#include <cstring>

#include "client.h"

using smith_connection = std::shared_ptr<rpc_dispatcher>;

static void * smith_rpc_connect(const char * endpoint, uint32_t * n_devices, char * why, size_t size) {
    // A connection of before may have ended without anybody having noticed: a second try makes a new one.
    for (int attempt = 0; attempt < 2; attempt++) {
        const smith_connection dispatcher = get_dispatcher(endpoint, /*renew=*/true);
        if (dispatcher->lost) {
            break;
        }
        rpc_msg_device_count_rsp response = {};
        dispatcher->send(RPC_CMD_DEVICE_COUNT, nullptr, 0, &response, sizeof(response));
        if (!dispatcher->lost) {
            *n_devices = response.device_count;
            return new smith_connection(dispatcher);
        }
    }
    snprintf(why, size, "%s", smith_rpc_why());
    return nullptr;
}

static bool smith_rpc_lost(const void * connection) {
    return (*static_cast<const smith_connection *>(connection))->lost;
}

static void smith_rpc_release(void * connection) {
    delete static_cast<smith_connection *>(connection);
}

static void * smith_rpc_proc(const char * name) {
    return strcmp(name, SMITH_PROC_RPC_CONNECT) == 0 ? (void *) smith_rpc_connect :
           strcmp(name, SMITH_PROC_RPC_LOST) == 0    ? (void *) smith_rpc_lost :
           strcmp(name, SMITH_PROC_RPC_RELEASE) == 0 ? (void *) smith_rpc_release :
                                                       nullptr;
}
