#include <cstring>

#include "adapter.hpp"
#include "handles.hpp"

using smith::LoraAdapter;
using smith::PyModel;

void register_adapter(py::module_ & m) {
    py::class_<LoraAdapter, std::shared_ptr<LoraAdapter>>(
        m, "LoraAdapter", "A LoRA adapter of a model, which it keeps alive. Contexts use it, and keep it alive.")
        .def(py::init([](const PyModel & model, const std::string & path) {
                 model.get();
                 return smith::make_unlocked<LoraAdapter>(model.model, path);  // reads the file
             }),
             py::arg("model"), py::arg("path"))
        .def_property_readonly("metadata",
                               [](const LoraAdapter & self) {
                                   py::dict out;
                                   for (const auto & [key, value] : self.metadata()) {
                                       out[to_str(key)] = to_str(value);
                                   }
                                   return out;
                               })
        .def_property_readonly("invocation_tokens",
                               [](const LoraAdapter & self) { return py::tuple(py::cast(self.invocation_tokens())); });
    m.def(
        "read_control_vector",
        [](const std::string & path) {
            const auto  vector = smith::unlocked([&] { return smith::read_control_vector(path); });
            const auto  n      = static_cast<py::ssize_t>(vector.n_embd);
            py::array_t<float> out({ static_cast<py::ssize_t>(vector.data.size()) / n, n });
            std::memcpy(out.mutable_data(), vector.data.data(), vector.data.size() * sizeof(float));
            return out;
        },
        py::arg("path"),
        "A control vector's file as an array of shape (layers, n_embd), float32, from layer 1 on.");
}
