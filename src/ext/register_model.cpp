#include "model.hpp"

#include "handles.hpp"
#include "llama-ext.h"
#include "model_facts.hpp"
#include "progress.hpp"
#include "weights.hpp"

using smith::Model;
using smith::ModelOptions;
using smith::PyModel;

using smith::ProgressBridge;

static PyModel load(const std::string & path, bool vocab_only, bool check_tensors, bool use_extra_bufts, bool no_host,
                    bool no_alloc, bool load_mtp, int64_t n_gpu_layers, int64_t main_gpu, const std::string & split_mode,
                    const std::string & load_mode, const std::string & lazy_mode, std::vector<float> tensor_split,
                    std::optional<std::vector<std::string>> devices,
                    std::vector<std::pair<std::string, std::string>> placement,
                    std::vector<std::pair<std::string, smith::MetaValue>> kv_overrides, std::vector<std::string> rpc,
                    py::object progress) {
    ProgressBridge bridge(std::move(progress));
    ModelOptions   options;
    options.vocab_only      = vocab_only;
    options.check_tensors   = check_tensors;
    options.use_extra_bufts = use_extra_bufts;
    options.no_host         = no_host;
    options.no_alloc        = no_alloc;
    options.load_mtp        = load_mtp;
    options.n_gpu_layers    = n_gpu_layers;
    options.main_gpu        = main_gpu;
    options.split_mode      = split_mode;
    options.load_mode       = load_mode;
    options.lazy_mode       = lazy_mode;
    options.tensor_split    = std::move(tensor_split);
    options.devices         = std::move(devices);
    options.placement       = std::move(placement);
    options.kv_overrides    = std::move(kv_overrides);
    options.rpc             = std::move(rpc);
    options.progress        = [&bridge](float fraction) { return bridge(fraction); };
    try {
        return { smith::make_unlocked<Model>(path, options) };
    } catch (const smith::Interrupted &) {
        bridge.rethrow();
        throw;
    }
}

// For work without the GIL, during which another thread may close the model.
static std::shared_ptr<Model> held(const PyModel & self) {
    self.get();  // refuses what is closed
    return self.model;
}

static py::dict metadata(const PyModel & self) {
    const llama_model * model = self.get().get();
    py::dict            all;
    for (int32_t i = 0; i < llama_model_meta_count(model); i++) {
        char          key[512];
        const int32_t length = llama_model_meta_key_by_index(model, i, key, sizeof(key));
        if (length >= 0 && length < static_cast<int32_t>(sizeof(key))) {
            all[to_str(key)] = to_str(self.get().metadata(key));
        }
    }
    return all;
}

static py::object chat_template(const PyModel & self, const std::optional<std::string> & name) {
    const char * text = llama_model_chat_template(self.get().get(), name ? name->c_str() : nullptr);
    return text == nullptr ? py::object(py::none()) : py::object(to_str(text));
}

void register_model(py::module_ & m) {
    py::class_<PyModel>(m, "Model", "A loaded GGUF model. Immutable: any thread may use it, many sessions may share it.")
        .def(py::init(&load), py::arg("path"), py::kw_only(), py::arg("vocab_only"), py::arg("check_tensors"),
             py::arg("use_extra_bufts"), py::arg("no_host"), py::arg("no_alloc"), py::arg("load_mtp"),
             py::arg("n_gpu_layers"), py::arg("main_gpu"), py::arg("split_mode"), py::arg("load_mode"),
             py::arg("lazy_mode"), py::arg("tensor_split"), py::arg("devices"), py::arg("placement"),
             py::arg("kv_overrides"), py::arg("rpc"), py::arg("progress"))
        .def(
            "tokenize",
            [](const PyModel & self, const std::string & text, bool add_special, bool parse_special) {
                const auto model = held(self);  // `text` is our own copy; megabytes take seconds
                return smith::unlocked([&] { return model->tokenize(text, add_special, parse_special); });
            },
            py::arg("text"), py::kw_only(), py::arg("add_special"), py::arg("parse_special"))
        .def(
            "detokenize",
            [](const PyModel & self, const std::vector<llama_token> & tokens, bool remove_special, bool unparse_special) {
                const auto model = held(self);
                return py::bytes(smith::unlocked([&] { return model->detokenize(tokens, remove_special, unparse_special); }));
            },
            py::arg("tokens"), py::kw_only(), py::arg("remove_special"), py::arg("unparse_special"))
        .def("close", [](PyModel & self) { self.model.reset(); })
        .def_property_readonly("closed", [](const PyModel & self) { return !self.model; })
        .def_property_readonly("desc", [](const PyModel & self) { return to_str(self.get().desc()); })
        .def_property_readonly("n_vocab", [](const PyModel & self) { return self.get().n_vocab(); })
        .def("bytes_per_token",
             [](const PyModel & self) {
                 const auto model = held(self);
                 return smith::unlocked([&] { return smith::bytes_per_token(*model); });  // reads files
             })
        .def_property_readonly("metadata", &metadata)
        .def_property_readonly("facts", [](const PyModel & self) { return smith::facts(self.get()); })
        .def("chat_template", &chat_template, py::arg("name"))
        .def_property_readonly(
            "chat_template_names",
            [](const PyModel & self) {
                py::list names;
                for (const std::string & name : self.get().chat_template_names()) {
                    names.append(to_str(name));
                }
                return py::tuple(names);
            })
        .def(
            "save",
            [](const PyModel & self, const std::string & path) {
                const auto model = held(self);
                smith::unlocked([&] { model->save(path); });  // writes gigabytes
            },
            py::arg("path"))
        .def(
            "token_embeddings",
            [](const PyModel & self) {
                const auto owner = held(self);
                const Model & model = *owner;
                if (model.vocab_only() || model.no_alloc()) {
                    throw smith::Error("InvalidOption", model.path() + " was loaded without its weights.");
                }
                const auto         rows = static_cast<py::ssize_t>(model.n_vocab());
                const auto         n    = static_cast<py::ssize_t>(llama_model_get_tok_embd(model.get(), nullptr));
                if (n <= 0 || n % rows != 0) {
                    throw smith::Error("InvalidOption", "llama.cpp cannot give the token embeddings of " + model.path() + ".");
                }
                py::array_t<float> out(std::vector<py::ssize_t>{ rows, n / rows });
                float *            data = out.mutable_data();
                smith::unlocked([&] { llama_model_get_tok_embd(model.get(), data); });
                return out;
            });
}
