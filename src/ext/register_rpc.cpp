#include "pybind.hpp"
#include "rpc.hpp"
#include "unlocked.hpp"

void register_rpc(py::module_ & m) {
    m.def(
        "rpc_serve",
        [](const std::string & endpoint, const std::string & cache, int n_threads) {
            const smith::Unlocked scope;  // no NativeWork: it never ends, and the process need not wait for it
            smith::serve(endpoint, cache, n_threads);
        },
        py::arg("endpoint"), py::kw_only(), py::arg("cache"), py::arg("n_threads"),
        "Lends this machine's devices to RPC clients, one after another. Never returns. Raises RpcError if it cannot "
        "listen.");
}
