#include "pybind.hpp"
#include "rpc.hpp"
#include "unlocked.hpp"

void register_rpc(py::module_ & m) {
    m.def(
        "rpc_lent_devices",
        [] {
            py::list devices;
            for (const smith::LentDevice & lent : smith::unlocked(smith::lent_devices)) {
                py::dict facts;
                facts["name"]         = to_str(lent.name);
                facts["description"]  = to_str(lent.description);
                facts["memory_free"]  = lent.memory_free;
                facts["memory_total"] = lent.memory_total;
                devices.append(facts);
            }
            return devices;
        },
        "The devices that rpc_serve() would lend.");
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
