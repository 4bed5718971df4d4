// The extension's table of contents. One register_<noun>.cpp for each noun, in the order in which they need each other.
#include "errors.hpp"
#include "log.hpp"
#include "neighbours.hpp"
#include "pybind.hpp"
#include "shutdown.hpp"

void register_backend(py::module_ & m);
void register_engine(py::module_ & m);
void register_machine(py::module_ & m);
void register_model(py::module_ & m);
void register_pool(py::module_ & m);
void register_rpc(py::module_ & m);
void register_session(py::module_ & m);

// llama.cpp's registry of backends and its log belong to the process, so a second interpreter cannot have its own.
PYBIND11_MODULE(_core, m, py::multiple_interpreters::not_supported()) {
    m.doc() = "llama.cpp behind llamasmith. Private: use the names that the package llamasmith exports.";
    smith::check_neighbours();
    smith::register_errors();
    smith::capture_log();
    smith::register_shutdown();
    register_backend(m);
    register_engine(m);
    register_machine(m);
    register_model(m);
    register_pool(m);
    register_rpc(m);
    register_session(m);
}
