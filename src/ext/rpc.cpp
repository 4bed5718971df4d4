#include "rpc.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <type_traits>

#include "engine.hpp"
#include "errors.hpp"
#include "ggml-rpc.h"
#include "llama.h"
#include "rpc/client.h"

namespace smith {

namespace {

struct Client {
    decltype(&ggml_backend_rpc_add_server) add_server = nullptr;
    smith_rpc_connect_t                    connect    = nullptr;
    smith_rpc_lost_t                       lost       = nullptr;
    smith_rpc_release_t                    release    = nullptr;
};

ggml_backend_reg_t backend() {
    engine();
    ggml_backend_reg_t reg = ggml_backend_reg_by_name("RPC");
    if (reg == nullptr) {
        throw Error("EngineError", "The backend rpc is not loaded in this process. Run: llamasmith doctor");
    }
    return reg;
}

template <typename Function> void find(ggml_backend_reg_t reg, const char * name, Function & out) {
    out = reinterpret_cast<Function>(ggml_backend_reg_get_proc_address(reg, name));
    if (out == nullptr) {
        throw Error("EngineError", std::string("The backend rpc offers no ") + name + ": it was built without the patches "
                                       "rpc-lost-server and rpc-connect, and a lost connection would end this process. "
                                       "Build without LLAMASMITH_SKIP_PATCHES.");
    }
}

Client client() {
    ggml_backend_reg_t reg = backend();
    Client             found;
    find(reg, "ggml_backend_rpc_add_server", found.add_server);
    find(reg, SMITH_PROC_RPC_CONNECT, found.connect);
    find(reg, SMITH_PROC_RPC_LOST, found.lost);
    find(reg, SMITH_PROC_RPC_RELEASE, found.release);
    return found;
}

// A connection's thread does not exist in a forked child, where a message would wait for its answer for ever.
void need_own_connections() {
    static const pid_t first = getpid();
    if (first != getpid()) {
        throw Error("ForkedProcess", "This process was forked from one that has used RPC servers; their connections "
                                     "cannot be shared. Start the child with the method spawn.");
    }
}

// One for each address, for ever: models come and go, and may share a connection.
std::recursive_mutex & mutex_of(const std::string & endpoint) {
    static std::mutex                                   guard;
    static std::map<std::string, std::recursive_mutex> & mutexes = *new std::map<std::string, std::recursive_mutex>;
    const std::lock_guard<std::mutex>                   lock(guard);
    return mutexes[endpoint];
}

}  // namespace

std::vector<ggml_backend_dev_t> gpus() {
    std::vector<ggml_backend_dev_t> devices;
    for (std::size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        const auto         type   = ggml_backend_dev_type(device);
        if (type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU) {
            devices.push_back(device);
        }
    }
    return devices;
}

struct Servers::Server {
    Client                 client;
    std::string            endpoint;
    void *                 connection = nullptr;
    std::recursive_mutex & mutex;

    Server(const Client & found, const std::string & where)
        : client(found), endpoint(where), mutex(mutex_of(where)) {}

    ~Server() {
        if (connection != nullptr) {
            client.release(connection);
        }
    }

    Server(const Server &)             = delete;
    Server & operator=(const Server &) = delete;
};

Servers::Servers(const std::vector<std::string> & endpoints) {
    if (endpoints.empty()) {
        return;
    }
    const Client found = client();
    need_own_connections();
    for (const std::string & endpoint : endpoints) {
        const auto                                   server = std::make_shared<Server>(found, endpoint);
        const std::lock_guard<std::recursive_mutex> turn(server->mutex);
        uint32_t                                     n_devices = 0;
        char                                         why[512]  = "";
        server->connection = found.connect(endpoint.c_str(), &n_devices, why, sizeof(why));
        if (server->connection == nullptr) {
            throw Error("RpcError", "No RPC server answers at " + endpoint + ": " + why + ". Start one there with: "
                                        "llamasmith rpc-server");
        }
        ggml_backend_reg_t reg = n_devices == 0 ? nullptr : found.add_server(endpoint.c_str());
        if (reg == nullptr) {
            throw Error("RpcError", "The RPC server at " + endpoint + " lends no devices.");
        }
        if (ggml_backend_reg_dev_count(reg) != n_devices) {
            throw Error("RpcError", "The RPC server at " + endpoint + " lends " + std::to_string(n_devices) +
                                        " devices, but lent " + std::to_string(ggml_backend_reg_dev_count(reg)) +
                                        " when this process first met it. Use a new process.");
        }
        for (std::size_t i = 0; i < n_devices; i++) {
            devices_.push_back(ggml_backend_reg_dev_get(reg, i));
        }
        servers_.push_back(server);
    }
    // All take them in this order, so nobody waits for another in a circle.
    std::sort(servers_.begin(), servers_.end(), [](const auto & a, const auto & b) { return a->endpoint < b->endpoint; });
}

void Servers::check() const {
    for (const auto & server : servers_) {
        if (server->client.lost(server->connection)) {
            throw Error("RpcError", "The connection to the RPC server at " + server->endpoint +
                                        " is lost, and with it what the server held: this model and its sessions cannot "
                                        "be used any more. See whether the server still runs, then load the model again.");
        }
    }
}

Servers::Turn::Turn(const Servers & servers) {
    for (const auto & server : servers.servers_) {
        locks_.emplace_back(server->mutex);
    }
}

namespace {

std::vector<ggml_backend_dev_t> devices_to_lend() {
    engine();
    std::vector<ggml_backend_dev_t> devices = gpus();
    if (devices.empty()) {
        devices.push_back(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    }
    return devices;
}

void to_stderr(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_CONT) {
        std::fputs(text, stderr);
    }
}

}  // namespace

void serve(const std::string & endpoint, const std::string & cache, int n_threads) {
    ggml_backend_reg_t                       reg   = backend();
    decltype(&ggml_backend_rpc_start_server) start = nullptr;
    find(reg, "ggml_backend_rpc_start_server", start);
    std::vector<ggml_backend_dev_t> devices = devices_to_lend();
    std::setvbuf(stdout, nullptr, _IOLBF, 0);  // upstream prints; a pipe shall see it at once
    llama_log_set(to_stderr, nullptr);         // nobody comes by to hand lines to Python
    start(endpoint.c_str(), cache.empty() ? nullptr : cache.c_str(), static_cast<std::size_t>(n_threads), devices.size(),
          devices.data());
    throw Error("RpcError", "The RPC server cannot listen at " + endpoint + ". Is the port in use?");
}

}  // namespace smith
