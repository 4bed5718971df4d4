#include "errors.hpp"
#include "machine/bandwidth.h"
#include "pybind.hpp"
#include "unlocked.hpp"

static double read_bandwidth(int n_threads, std::size_t n_bytes, double seconds) {
    const double found = smith::unlocked([&] { return smith_read_bandwidth(n_threads, n_bytes, seconds); });
    if (found < 0) {
        throw smith::Error("NotEnoughMemory", "Reading memory with " + std::to_string(n_threads) + " threads needs " +
                                                  std::to_string(n_bytes / 1000000) + " MB and that many threads; the "
                                                  "system does not give them.");
    }
    return found;
}

void register_machine(py::module_ & m) {
    m.def("read_bandwidth", &read_bandwidth, py::kw_only(), py::arg("n_threads"), py::arg("n_bytes"),
          py::arg("seconds"),
          "Bytes per second that ``n_threads`` threads read together from ``n_bytes`` of memory: the best pass within "
          "``seconds``. Raises NotEnoughMemory.");
}
