// The extension's table of contents. One register_<noun>.cpp for each noun, in the order in which they need each other.
#include "abort_guard.hpp"
#include "errors.hpp"
#include "log.hpp"
#include "neighbours.hpp"
#include "pybind.hpp"
#include "shutdown.hpp"

void register_backend(py::module_ & m);
void register_batch_session(py::module_ & m);
void register_adapter(py::module_ & m);
void register_chat(py::module_ & m);
void register_context(py::module_ & m);
void register_device(py::module_ & m);
void register_engine(py::module_ & m);
void register_machine(py::module_ & m);
void register_model(py::module_ & m);
void register_pool(py::module_ & m);
void register_rpc(py::module_ & m);
void register_quantize(py::module_ & m);
void register_sampler(py::module_ & m);
void register_session(py::module_ & m);
void register_training(py::module_ & m);
void register_vocab(py::module_ & m);

// llama.cpp's registry of backends and its log belong to the process, so a second interpreter cannot have its own.
PYBIND11_MODULE(_core, m, py::multiple_interpreters::not_supported()) {
    m.doc() = "llama.cpp behind llamasmith. Private: use the names that the package llamasmith exports.";
    smith::check_neighbours();
    smith::register_errors();
    smith::capture_log();
    smith::catch_aborts();
    smith::register_shutdown();
    register_backend(m);
    register_engine(m);
    register_device(m);
    register_machine(m);
    register_model(m);
    register_vocab(m);
    register_adapter(m);
    register_pool(m);
    register_rpc(m);
    register_sampler(m);
    register_context(m);
    register_session(m);
    register_batch_session(m);
    register_quantize(m);
    register_training(m);
    register_chat(m);
}
