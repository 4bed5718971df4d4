#include <cstring>

#include "batch.hpp"
#include "handles.hpp"
#include "llama-ext.h"
#include "register_options.hpp"
#include "run.hpp"
#include "sampler_chain.hpp"
#include "state.hpp"

using smith::Batch;
using smith::Context;
using smith::LoraAdapter;
using smith::PyModel;
using smith::PyThreadPool;
using smith::SamplerChain;

using Turn = Context::Turn;

// An array over memory of llama.cpp, which it keeps alive.
struct Loan {
    std::shared_ptr<void>          loan;
    std::shared_ptr<llama_context> context;
};

// Outputs as numpy: a copy, or a view that ends when the outputs change (llamasmith.views).
static py::object as_array(Context & self, const float * values, std::vector<py::ssize_t> shape, bool copy) {
    if (copy) {
        py::array_t<float> out(shape);
        std::memcpy(out.mutable_data(), values, static_cast<std::size_t>(out.size()) * sizeof(float));
        return std::move(out);
    }
    const py::capsule owner(new Loan{ self.lend(), self.shared() }, [](void * loan) { smith::free_unlocked(static_cast<Loan *>(loan)); });
    py::array_t<float> over(shape, values, owner);
    over.attr("flags").attr("writeable") = false;
    const py::object view = py::module_::import("llamasmith.views").attr("View")(over);
    smith::begin_view(self, view);
    return view;
}

static py::object logits(Context & self, std::optional<int64_t> row, bool copy) {
    const Turn    turn(self);
    const int64_t n = self.model().n_vocab();
    if (row) {
        return as_array(self, self.logits(*row), { n }, copy);
    }
    int64_t       rows   = 0;
    const float * values = self.all_logits(rows);
    return as_array(self, values, { rows, n }, copy);
}

static py::object embeddings(Context & self, std::optional<int64_t> row, bool copy) {
    const Turn    turn(self);
    const int64_t n = llama_model_n_embd_out(self.model().get());
    if (row) {
        return as_array(self, self.embeddings(*row), { n }, copy);
    }
    int64_t       rows   = 0;
    const float * values = self.all_embeddings(rows);
    return as_array(self, values, { rows, n }, copy);
}

static py::array_t<float> pooled(Context & self, int64_t seq_id) {
    const Turn         turn(self);
    int64_t            n      = 0;
    const float *      values = self.pooled(seq_id, n);
    py::array_t<float> out(n);
    std::memcpy(out.mutable_data(), values, static_cast<std::size_t>(n) * sizeof(float));
    return out;
}

// One token for each pair of chain and row, in the order given, without a Python object in between.
static std::vector<llama_token> sample(Context & self, const std::vector<std::shared_ptr<SamplerChain>> & chains,
                                       const std::vector<int64_t> & rows) {
    const Turn turn(self);
    if (chains.size() != rows.size()) {
        throw smith::Error("InvalidOption", std::to_string(chains.size()) + " sampler chains for " +
                                                std::to_string(rows.size()) + " rows. Give one for each.");
    }
    std::vector<llama_token> tokens;
    std::vector<const float *> places;
    for (const int64_t row : rows) {
        places.push_back(self.logits(row));  // all or none
    }
    smith::unlocked([&] {
        for (std::size_t i = 0; i < rows.size(); i++) {
            tokens.push_back(chains[i]->sample(places[i], self.model()));
        }
    });
    return tokens;
}

static py::dict perf(Context & self) {
    const Turn turn(self);
    const auto data = llama_perf_context(self.get());
    py::dict   out;
    out["load_ms"]   = data.t_load_ms;
    out["p_eval_ms"] = data.t_p_eval_ms;
    out["eval_ms"]   = data.t_eval_ms;
    out["n_p_eval"]  = data.n_p_eval;
    out["n_eval"]    = data.n_eval;
    out["n_reused"]  = data.n_reused;
    return out;
}

// Of a model without memory, upstream tells what a buffer would take once for each backend that shares it: such as openblas,
// which compute in the host's memory, and the engine, which takes that of the first GPU's driver where there is one.
static std::size_t told_times(const Context & self, ggml_backend_buffer_type_t type) {
    const llama_model *        model  = self.model().get();
    ggml_backend_buffer_type_t engine = ggml_backend_dev_buffer_type(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    if (llama_model_n_devices(model) > 0) {
        const auto host = ggml_backend_dev_host_buffer_type(llama_model_get_device(model, 0));
        engine          = host == nullptr ? engine : host;
    }
    std::size_t n = engine == type ? 1 : 0;
    for (std::size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        const bool         helper = ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_ACCEL;
        n += helper && ggml_backend_dev_buffer_type(device) == type ? 1 : 0;
    }
    return self.model().no_alloc() && n > 1 ? n : 1;
}

static py::list memory_breakdown(Context & self) {
    const Turn turn(self);
    py::list   all;
    for (const auto & [type, data] : llama_get_memory_breakdown(self.get())) {
        ggml_backend_dev_t device = ggml_backend_buft_get_device(type);
        py::dict           row;
        row["buffer_type"] = to_str(ggml_backend_buft_name(type));
        row["device"]      = device == nullptr ? py::str("CPU") : to_str(ggml_backend_dev_name(device));
        row["host"]        = ggml_backend_buft_is_host(type);
        row["model"]       = data.model;
        row["context"]     = data.context;
        row["compute"]     = data.compute / told_times(self, type);
        all.append(std::move(row));
    }
    return all;
}

static void set_control_vector(Context & self, const std::optional<py::array_t<float, py::array::c_style | py::array::forcecast>> & data,
                               int64_t first, std::optional<int64_t> last) {
    const Turn turn(self);
    if (!data) {
        self.set_control_vector(nullptr, 0, 0, 0, 0);
        return;
    }
    if (data->ndim() != 2) {
        throw smith::Error("InvalidOption", "The control vector has " + std::to_string(data->ndim()) +
                                                " dimensions. Allowed: 2, of shape (layers, n_embd).");
    }
    self.set_control_vector(data->data(), data->shape(0), data->shape(1), first,
                            last.value_or(llama_model_n_layer(self.model().get()) - 1));
}

static void process(Context & self, Batch & batch, bool encode) {
    const Turn turn(self);
    smith::run(self, [&] { self.process(batch, encode); });
}

// Runs a short operation on the memory within a turn.
template <typename Result, typename... Args> static auto in_turn(Result (Context::*method)(Args...)) {
    return [method](Context & self, Args... args) {
        const Turn turn(self);
        return (self.*method)(args...);
    };
}

template <typename Result, typename... Args> static auto in_turn(Result (Context::*method)(Args...) const) {
    return [method](Context & self, Args... args) {
        const Turn turn(self);
        return (self.*method)(args...);
    };
}

using Ids = std::vector<int64_t>;
using Row = py::array_t<float, py::array::c_style | py::array::forcecast>;

static void need_flat(const py::array & array, const char * what) {
    if (array.ndim() != 1) {
        throw smith::Error("InvalidOption", std::string(what) + " has " + std::to_string(array.ndim()) +
                                                " dimensions. Allowed: 1.");
    }
}

static void register_batch(py::module_ & m) {
    py::class_<Batch>(m, "Batch", "Tokens or embeddings of many sequences, for one context.")
        .def(py::init([](Context & context) {
                 const Turn turn(context);
                 return new Batch(context);
             }),
             py::arg("context"))
        .def("add", &Batch::add, py::arg("token"), py::kw_only(), py::arg("pos"), py::arg("seq_ids"), py::arg("output"))
        .def(
            "add_embedding",
            [](Batch & self, const Row & row, const Ids & pos, const Ids & seq_ids, bool output) {
                need_flat(row, "The embedding");
                return self.add_embedding(row.data(), row.size(), pos, seq_ids, output);
            },
            py::arg("row"), py::kw_only(), py::arg("pos"), py::arg("seq_ids"), py::arg("output"))
        .def(
            "set_embedding",
            [](Batch & self, int64_t index, const Row & row) {
                need_flat(row, "The embedding");
                self.set_embedding(index, row.data(), row.size());
            },
            py::arg("index"), py::arg("row"))
        .def(
            "extend",
            [](Batch & self, const std::vector<llama_token> & tokens, int64_t pos, int64_t seq_id, bool every_output) {
                self.extend(tokens.data(), tokens.size(), pos, seq_id, every_output || tokens.empty() ? 0 : tokens.size() - 1);
            },
            py::arg("tokens"), py::kw_only(), py::arg("pos"), py::arg("seq_id"), py::arg("every_output"))
        .def("set_output", &Batch::set_output, py::arg("index"), py::arg("output"))
        .def("clear", &Batch::clear)
        .def("__len__", &Batch::size)
        .def_property_readonly("capacity", &Batch::capacity)
        .def_property_readonly("n_outputs", &Batch::n_outputs)
        .def_property_readonly("n_pos", &Batch::n_pos);
}

static void register_memory(py::class_<Context, std::shared_ptr<Context>> & c) {
    c.def(
         "memory_clear",
         [](Context & self, bool data) {
             const Turn turn(self);
             smith::unlocked([&] { self.memory_clear(data); });  // zeroes gigabytes
         },
         py::kw_only(), py::arg("data"))
        .def("seq_rm", in_turn(&Context::seq_rm), py::arg("seq_id"), py::arg("p0"), py::arg("p1"))
        .def("seq_cp", in_turn(&Context::seq_cp), py::arg("seq_id_src"), py::arg("seq_id_dst"), py::arg("p0"), py::arg("p1"))
        .def("seq_keep", in_turn(&Context::seq_keep), py::arg("seq_id"))
        .def("seq_add", in_turn(&Context::seq_add), py::arg("seq_id"), py::arg("p0"), py::arg("p1"), py::arg("delta"))
        .def("seq_div", in_turn(&Context::seq_div), py::arg("seq_id"), py::arg("p0"), py::arg("p1"), py::arg("divisor"))
        .def("seq_pos_min", in_turn(&Context::seq_pos_min), py::arg("seq_id"))
        .def("seq_pos_max", in_turn(&Context::seq_pos_max), py::arg("seq_id"))
        .def_property_readonly("has_memory",
                               [](Context & self) {
                                   const Turn turn(self);
                                   return llama_get_memory(self.get()) != nullptr;
                               })
        .def_property_readonly("can_shift", in_turn(&Context::can_shift))
        .def(
            "save_state",
            [](Context & self, std::optional<int64_t> seq_id, bool partial) {
                const Turn turn(self);
                return py::bytes(smith::unlocked([&] { return smith::save_state(self, seq_id, partial); }));
            },
            py::kw_only(), py::arg("seq_id"), py::arg("partial"))
        .def(
            "load_state",
            [](Context & self, const py::bytes & state, std::optional<int64_t> seq_id) {
                const Turn turn(self);
                char *     bytes = nullptr;
                ssize_t    size  = 0;
                PyBytes_AsStringAndSize(state.ptr(), &bytes, &size);
                smith::unlocked([&] { smith::load_state(self, bytes, static_cast<std::size_t>(size), seq_id); });
            },
            py::arg("state"), py::kw_only(), py::arg("seq_id"))
        .def(
            "save_state_file",
            [](Context & self, const std::string & path, const std::vector<llama_token> & tokens,
               std::optional<int64_t> seq_id) {
                const Turn turn(self);
                smith::unlocked([&] { smith::save_state_file(self, path, tokens, seq_id); });
            },
            py::arg("path"), py::kw_only(), py::arg("tokens"), py::arg("seq_id"))
        .def(
            "load_state_file",
            [](Context & self, const std::string & path, std::optional<int64_t> seq_id) {
                const Turn turn(self);
                return smith::unlocked([&] { return smith::load_state_file(self, path, seq_id); });
            },
            py::arg("path"), py::kw_only(), py::arg("seq_id"));
}

void register_context(py::module_ & m) {
    py::class_<Context, std::shared_ptr<Context>> c(m, "Context", "A context of a model: evaluates batches of many sequences.");
    c.def(py::init([](const PyModel & model, const PyThreadPool * pool, const PyThreadPool * pool_batch,
                      const py::kwargs & options) { return smith::make_context<Context>(model, pool, pool_batch, options); }),
          py::arg("model"), py::kw_only(), py::arg("pool"), py::arg("pool_batch"))
        .def("process", &process, py::arg("batch"), py::kw_only(), py::arg("encode"))
        .def("logits", &logits, py::arg("row"), py::kw_only(), py::arg("copy"))
        .def("embeddings", &embeddings, py::arg("row"), py::kw_only(), py::arg("copy"))
        .def("pooled_embedding", &pooled, py::arg("seq_id"))
        .def("sample", &sample, py::arg("samplers"), py::arg("rows"))
        .def(
            "set_adapters",
            [](Context & self, const std::vector<std::pair<std::shared_ptr<LoraAdapter>, float>> & adapters) {
                const Turn turn(self);
                self.set_adapters(adapters);
            },
            py::arg("adapters"))
        .def("set_control_vector", &set_control_vector, py::arg("data"), py::kw_only(), py::arg("first_layer"),
             py::arg("last_layer"))
        .def(
            "set_embeddings",
            [](Context & self, bool value) {
                const Turn turn(self);
                smith::end_views(self);
                self.set_embeddings(value);
            },
            py::arg("value"))
        .def_property(
            "causal_attn",
            [](Context & self) {
                const Turn turn(self);
                return llama_get_causal_attn(self.get());
            },
            in_turn(&Context::set_causal_attn))
        .def("perf", &perf)
        .def("perf_reset",
             [](Context & self) {
                 const Turn turn(self);
                 llama_perf_context_reset(self.get());
             })
        .def("memory_breakdown", &memory_breakdown)
        .def("synchronize",
             [](Context & self) {
                 const Turn turn(self);
                 smith::unlocked([&] { llama_synchronize(self.get()); });
             })
        .def("close",
             [](Context & self) {
                 if (self.closed()) {
                     return;
                 }
                 const Turn turn(self);
                 smith::end_views(self);
                 smith::unlocked([&] { self.close(); });  // joins threads, unmaps memory
             })
        .def("cancel", &Context::cancel)
        .def_property_readonly("closed", &Context::closed)
        .def_property_readonly("busy", &Context::busy)
        .def_property_readonly("n_ctx", in_turn(&Context::n_ctx))
        .def_property_readonly("n_ctx_seq", in_turn(&Context::n_ctx_seq))
        .def_property_readonly("n_batch", in_turn(&Context::n_batch))
        .def_property_readonly("n_ubatch", in_turn(&Context::n_ubatch))
        .def_property_readonly("n_seq_max", in_turn(&Context::n_seq_max))
        .def_property_readonly("n_outputs_max", in_turn(&Context::n_outputs_max))
        .def_property_readonly("pooling_type", [](Context & self) {
            const Turn turn(self);
            return smith::pooling_name(llama_pooling_type(self.get()));
        });
    register_memory(c);
    register_batch(m);
}
