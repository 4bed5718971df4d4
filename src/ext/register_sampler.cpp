#include <cmath>
#include <cstring>

#include "handles.hpp"
#include "register_options.hpp"
#include "sampler_chain.hpp"

using smith::CustomSampler;
using smith::Keywords;
using smith::PyModel;
using smith::SamplerChain;

// A Python object as a sampler: called with an array of token ids and one of their logits, which it may change in place, or
// replace by what it returns. Its methods accept(token), reset() and clone() are called if it has them.
class PythonSampler : public CustomSampler {
  public:
    explicit PythonSampler(py::object object) : object_(new py::object(std::move(object)), release) {}

    void apply(llama_token_data_array & candidates) override {
        const py::gil_scoped_acquire locked;
        const auto                   n = static_cast<py::ssize_t>(candidates.size);
        py::array_t<llama_token>     ids(n);
        py::array_t<float>           logits(n);
        for (py::ssize_t i = 0; i < n; i++) {
            ids.mutable_data()[i]    = candidates.data[i].id;
            logits.mutable_data()[i] = candidates.data[i].logit;
        }
        const py::object returned = (*object_)(ids, logits);
        const auto       changed  = py::array_t<float, py::array::c_style | py::array::forcecast>::ensure(
            returned.is_none() ? static_cast<const py::object &>(logits) : returned);
        if (!changed) {
            PyErr_Clear();
            throw smith::Error("InvalidOption", "A sampler in Python returned " + py::repr(returned).cast<std::string>() +
                                                    ". Allowed: None, or an array with a logit for each id.");
        }
        if (changed.ndim() != 1 || changed.size() != n) {
            throw smith::Error("InvalidOption", "A sampler in Python returned an array with " + std::to_string(changed.size()) +
                                                    " values. Allowed: " + std::to_string(n) + ", one for each id.");
        }
        for (py::ssize_t i = 0; i < n; i++) {
            if (std::isnan(changed.data()[i])) {
                throw smith::Error("InvalidOption", "A sampler in Python made the logit of token " +
                                                        std::to_string(candidates.data[i].id) + " not a number.");
            }
            candidates.data[i].logit = changed.data()[i];
        }
        candidates.sorted = false;
    }

    void accept(llama_token token) override {
        call("accept", token);
    }

    void reset() override { call("reset"); }

    std::shared_ptr<CustomSampler> clone() const override {
        const py::gil_scoped_acquire locked;
        const bool own = py::hasattr(*object_, "clone");
        return std::make_shared<PythonSampler>(own ? object_->attr("clone")() : *object_);
    }

  private:
    static void release(py::object * object) {
        const py::gil_scoped_acquire locked;
        delete object;
    }

    template <typename... Args> void call(const char * method, Args... args) {
        const py::gil_scoped_acquire locked;
        if (py::hasattr(*object_, method)) {
            object_->attr(method)(args...);
        }
    }

    std::shared_ptr<py::object> object_;
};

// Adds the sampler `name` with its options, whose names and defaults are upstream's.
static void add(SamplerChain & chain, const std::string & name, const py::dict & given) {
    Keywords in(given);
    uint32_t seed     = LLAMA_DEFAULT_SEED;
    int64_t  min_keep = 1;
    float    p = 1.0f, t = 1.0f, tau = 5.0f, eta = 0.1f;
    const auto finish = [&] { in.finish("The sampler '" + name + "'"); };
    if (name == "greedy") {
        finish();
        chain.add_greedy();
    } else if (name == "dist") {
        in.read("seed", seed), finish();
        chain.add_dist(seed);
    } else if (name == "top_k") {
        int64_t k = 40;
        in.read("k", k), finish();
        chain.add_top_k(k);
    } else if (name == "top_p" || name == "min_p" || name == "typical") {
        in.read("p", p), in.read("min_keep", min_keep), finish();
        name == "top_p" ? chain.add_top_p(p, min_keep)
                        : name == "min_p" ? chain.add_min_p(p, min_keep) : chain.add_typical(p, min_keep);
    } else if (name == "temp") {
        in.read("t", t), finish();
        chain.add_temp(t);
    } else if (name == "temp_ext") {
        float delta = 0.0f, exponent = 1.0f;
        in.read("t", t), in.read("delta", delta), in.read("exponent", exponent), finish();
        chain.add_temp_ext(t, delta, exponent);
    } else if (name == "xtc") {
        p = 0.0f, t = 0.1f;
        in.read("p", p), in.read("t", t), in.read("min_keep", min_keep), in.read("seed", seed), finish();
        chain.add_xtc(p, t, min_keep, seed);
    } else if (name == "top_n_sigma") {
        float n = -1.0f;
        in.read("n", n), finish();
        chain.add_top_n_sigma(n);
    } else if (name == "mirostat") {
        int64_t m = 100;
        in.read("seed", seed), in.read("tau", tau), in.read("eta", eta), in.read("m", m), finish();
        chain.add_mirostat(seed, tau, eta, m);
    } else if (name == "mirostat_v2") {
        in.read("seed", seed), in.read("tau", tau), in.read("eta", eta), finish();
        chain.add_mirostat_v2(seed, tau, eta);
    } else if (name == "grammar" || name == "grammar_lazy") {
        std::string              grammar, root = "root";
        std::vector<std::string> patterns;
        std::vector<llama_token> tokens;
        in.read("grammar", grammar), in.read("root", root);
        if (name == "grammar") {
            finish();
            smith::unlocked([&] { chain.add_grammar(grammar, root); });
        } else {
            in.read("trigger_patterns", patterns), in.read("trigger_tokens", tokens), finish();
            smith::unlocked([&] { chain.add_grammar_lazy(grammar, root, patterns, tokens); });
        }
    } else if (name == "penalties") {
        int64_t last_n = 64;
        float   repeat = 1.0f, freq = 0.0f, present = 0.0f;
        in.read("last_n", last_n), in.read("repeat", repeat), in.read("freq", freq), in.read("present", present), finish();
        chain.add_penalties(last_n, repeat, freq, present);
    } else if (name == "dry") {
        float                    multiplier = 0.0f, base = 1.75f;
        int64_t                  allowed_length = 2, last_n = 1024;
        std::vector<std::string> breakers{ "\n", ":", "\"", "*" };
        in.read("multiplier", multiplier), in.read("base", base), in.read("allowed_length", allowed_length);
        in.read("last_n", last_n), in.read("breakers", breakers), finish();
        smith::unlocked([&] { chain.add_dry(multiplier, base, allowed_length, last_n, breakers); });  // scans the vocabulary
    } else if (name == "adaptive_p") {
        float target = -1.0f, decay = 0.9f;
        in.read("target", target), in.read("decay", decay), in.read("seed", seed), finish();
        chain.add_adaptive_p(target, decay, seed);
    } else if (name == "logit_bias") {
        std::vector<std::pair<int64_t, float>> bias;
        in.read("bias", bias), finish();
        chain.add_logit_bias(bias);
    } else if (name == "infill") {
        finish();
        chain.add_infill();
    } else if (name == "custom") {
        py::object call = py::none();
        in.read("call", call), finish();
        if (!PyCallable_Check(call.ptr())) {
            throw py::type_error("A sampler in Python must be callable: call(ids, logits).");
        }
        chain.add_custom(std::make_shared<PythonSampler>(call));
    } else {
        throw smith::Error("InvalidOption", "There is no sampler '" + name + "'. There are: greedy, dist, top_k, top_p, min_p, "
                                            "typical, temp, temp_ext, xtc, top_n_sigma, mirostat, mirostat_v2, grammar, "
                                            "grammar_lazy, penalties, dry, adaptive_p, logit_bias, infill, custom.");
    }
}

static py::tuple apply(SamplerChain & self, const py::array_t<llama_token, py::array::c_style> & ids,
                       const py::array_t<float, py::array::c_style | py::array::forcecast> & logits) {
    if (ids.ndim() != 1 || logits.ndim() != 1 || ids.size() != logits.size()) {
        throw smith::Error("InvalidOption", std::to_string(ids.size()) + " ids and " + std::to_string(logits.size()) +
                                                " logits. Give two flat arrays of one length.");
    }
    std::vector<llama_token_data> all;
    for (py::ssize_t i = 0; i < ids.size(); i++) {
        all.push_back({ ids.data()[i], logits.data()[i], 0.0f });
    }
    int64_t selected = -1;
    smith::unlocked([&] { self.apply(all, selected); });
    const auto               n = static_cast<py::ssize_t>(all.size());
    py::array_t<llama_token> out_ids(n);
    py::array_t<float>       out_logits(n), out_p(n);
    for (std::size_t i = 0; i < all.size(); i++) {
        out_ids.mutable_data()[i]    = all[i].id;
        out_logits.mutable_data()[i] = all[i].logit;
        out_p.mutable_data()[i]      = all[i].p;
    }
    return py::make_tuple(out_ids, out_logits, out_p, selected);
}

void register_sampler(py::module_ & m) {
    py::class_<SamplerChain, std::shared_ptr<SamplerChain>>(
        m, "SamplerChain", "Samplers in the order given, for one sequence of a model, which it keeps alive.")
        .def(py::init([](const PyModel & model, const std::vector<std::pair<std::string, py::dict>> & samplers) {
                 model.get();
                 auto chain = std::make_shared<SamplerChain>(model.model);
                 for (const auto & [name, options] : samplers) {
                     add(*chain, name, options);
                 }
                 return chain;
             }),
             py::arg("model"), py::arg("samplers"))
        .def("apply", &apply, py::arg("ids"), py::arg("logits"))
        .def(
            "accept", [](SamplerChain & self, int64_t token) { smith::unlocked([&] { self.accept(token); }); },
            py::arg("token"))
        .def("reset", [](SamplerChain & self) { smith::unlocked([&] { self.reset(); }); })
        .def("clone", [](const SamplerChain & self) { return smith::unlocked([&] { return self.clone(); }); })  // grammars
        .def("remove", &SamplerChain::remove, py::arg("index"))
        .def("__len__", [](const SamplerChain & self) { return self.names().size(); })
        .def_property_readonly("names", [](const SamplerChain & self) { return py::tuple(py::cast(self.names())); })
        .def_property_readonly("seed", &SamplerChain::seed)
        .def("perf",
             [](const SamplerChain & self) {
                 const SamplerChain::Use use(self);
                 const auto              data = self.perf();
                 py::dict                out;
                 out["sample_ms"] = data.t_sample_ms;
                 out["n_sample"]  = data.n_sample;
                 return out;
             })
        .def("perf_reset", [](SamplerChain & self) {
            const SamplerChain::Use use(self);
            self.perf_reset();
        });
}
