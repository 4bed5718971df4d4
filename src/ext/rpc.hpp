// llama.cpp's own distributed engine, backend `rpc`: the servers that lend their devices to a model, and being one.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "ggml-backend.h"

namespace smith {

// The servers that a model has parts on. Without any, nothing below costs anything.
class Servers {
  public:
    Servers() = default;

    // Connects to each, "address:port" with an IPv4 address. Throws RpcError with the address and the reason,
    // EngineError if the backend is not loaded.
    explicit Servers(const std::vector<std::string> & endpoints);

    bool empty() const { return servers_.empty(); }

    // In the order in which the servers were given.
    const std::vector<ggml_backend_dev_t> & devices() const { return devices_; }

    // Throws RpcError if a connection has ended: what lay on that server is gone, and the model with it.
    void check() const;

    // The calling thread's turn to use the connections: a server keeps one graph for each of them, so two threads in
    // the midst of one would get each other's. Recursive, for a signal's handler may run in the midst of a turn.
    class Turn {
      public:
        explicit Turn(const Servers & servers);

      private:
        std::vector<std::unique_lock<std::recursive_mutex>> locks_;
    };

  private:
    struct Server;
    std::vector<std::shared_ptr<const Server>> servers_;  // in the order of their addresses
    std::vector<ggml_backend_dev_t>            devices_;
};

// The GPUs of this machine. Devices of servers are in no registry.
std::vector<ggml_backend_dev_t> gpus();

// Lends this machine's GPUs, or without any its CPU, to one client after another; returns only if it cannot listen. `cache` may be empty. The log goes to
// standard error from then on.
void serve(const std::string & endpoint, const std::string & cache, int n_threads);

}  // namespace smith
