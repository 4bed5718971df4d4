#include "model.hpp"

#include <chrono>

#include "handles.hpp"
#include "shutdown.hpp"
#include "weights.hpp"

using smith::Model;
using smith::ModelOptions;
using smith::PyModel;

// Asks Python at most 20 times a second, and once at the end: signals first, then the user's callback.
class ProgressBridge {
  public:
    explicit ProgressBridge(py::object callback) : callback_(std::move(callback)) {}

    bool operator()(float fraction) {
        const auto now = std::chrono::steady_clock::now();
        if (fraction < 1.0f && now - last_ < std::chrono::milliseconds(50)) {
            return true;
        }
        last_ = now;
        if (smith::shutting_down()) {
            return false;
        }
        const py::gil_scoped_acquire locked;
        try {
            if (PyErr_CheckSignals() != 0) {
                throw py::error_already_set();
            }
            if (!callback_.is_none()) {
                callback_(fraction);
            }
            return true;
        } catch (...) {
            raised_ = std::current_exception();  // upstream's frames lie between here and the caller
            return false;
        }
    }

    void rethrow() {
        if (raised_) {
            std::rethrow_exception(std::exchange(raised_, nullptr));
        }
    }

  private:
    py::object                            callback_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
    std::exception_ptr                    raised_;
};

static PyModel load(const std::string & path, bool vocab_only, bool check_tensors, bool use_extra_bufts,
                    int32_t n_gpu_layers, const std::string & load_mode, const std::vector<std::string> & rpc,
                    py::object progress) {
    ProgressBridge bridge(std::move(progress));
    ModelOptions   options;
    options.vocab_only      = vocab_only;
    options.check_tensors   = check_tensors;
    options.use_extra_bufts = use_extra_bufts;
    options.n_gpu_layers    = n_gpu_layers;
    options.load_mode       = load_mode;
    options.rpc             = rpc;
    options.progress        = [&bridge](float fraction) { return bridge(fraction); };
    try {
        return { smith::make_unlocked<Model>(path, options) };
    } catch (const smith::Interrupted &) {
        bridge.rethrow();
        throw;
    }
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

void register_model(py::module_ & m) {
    py::class_<PyModel>(m, "Model", "A loaded GGUF model. Immutable: any thread may use it, many sessions may share it.")
        .def(py::init(&load), py::arg("path"), py::kw_only(), py::arg("vocab_only"), py::arg("check_tensors"),
             py::arg("use_extra_bufts"), py::arg("n_gpu_layers"), py::arg("load_mode"), py::arg("rpc"),
             py::arg("progress"))
        .def(
            "tokenize",
            [](const PyModel & self, const std::string & text, bool add_special, bool parse_special) {
                const Model & model = self.get();  // `text` is our own copy; megabytes take seconds
                return smith::unlocked([&] { return model.tokenize(text, add_special, parse_special); });
            },
            py::arg("text"), py::kw_only(), py::arg("add_special"), py::arg("parse_special"))
        .def(
            "detokenize",
            [](const PyModel & self, const std::vector<llama_token> & tokens, bool remove_special,
               bool unparse_special) { return py::bytes(self.get().detokenize(tokens, remove_special, unparse_special)); },
            py::arg("tokens"), py::kw_only(), py::arg("remove_special"), py::arg("unparse_special"))
        .def("close", [](PyModel & self) { self.model.reset(); })
        .def_property_readonly("closed", [](const PyModel & self) { return !self.model; })
        .def_property_readonly("desc", [](const PyModel & self) { return to_str(self.get().desc()); })
        .def_property_readonly("n_vocab", [](const PyModel & self) { return self.get().n_vocab(); })
        .def_property_readonly("n_ctx_train",
                               [](const PyModel & self) { return llama_model_n_ctx_train(self.get().get()); })
        .def_property_readonly("n_embd", [](const PyModel & self) { return llama_model_n_embd(self.get().get()); })
        .def_property_readonly("n_layer", [](const PyModel & self) { return llama_model_n_layer(self.get().get()); })
        .def_property_readonly("n_params", [](const PyModel & self) { return llama_model_n_params(self.get().get()); })
        .def_property_readonly("size", [](const PyModel & self) { return llama_model_size(self.get().get()); })
        .def("bytes_per_token",
             [](const PyModel & self) {
                 const Model & model = self.get();
                 return smith::unlocked([&] { return smith::bytes_per_token(model); });  // reads files
             })
        .def_property_readonly("token_bos", [](const PyModel & self) { return llama_vocab_bos(self.get().vocab()); })
        .def_property_readonly("token_eos", [](const PyModel & self) { return llama_vocab_eos(self.get().vocab()); })
        .def_property_readonly("metadata", &metadata);
}
