// Keyword arguments of Python as the options of a context.
#pragma once

#include <string>
#include <type_traits>

#include "context_params.hpp"
#include "handles.hpp"

namespace smith {

// Reads options by name; finish() refuses names that nobody has asked for.
class Keywords {
  public:
    explicit Keywords(const py::dict & given) : given_(given) {}

    template <typename Value> void read(const char * name, Value & out) {
        if (!given_.contains(name)) {
            return;
        }
        known_++;
        const py::handle value = given_[name];
        try {
            out = value.cast<Value>();
        } catch (const py::cast_error &) {
            throw Error("InvalidOption", std::string(name) + " is " + py::repr(value).cast<std::string>() + ". Allowed: " +
                                             wanted<Value>() + ".");
        }
        names_ += std::string(name) + ",";
    }

    void finish(const std::string & of) const {
        if (known_ == given_.size()) {
            return;
        }
        for (const auto & item : given_) {
            const auto name = item.first.cast<std::string>();
            if (("," + names_).find("," + name + ",") == std::string::npos) {
                throw py::type_error(of + " has no option '" + name + "'.");
            }
        }
    }

  private:
    template <typename Value> static const char * wanted() {
        if constexpr (std::is_same_v<Value, bool>) {
            return "True or False";
        } else if constexpr (std::is_integral_v<Value>) {
            return "a whole number in its range";
        } else if constexpr (std::is_floating_point_v<Value>) {
            return "a number";
        } else if constexpr (std::is_same_v<Value, std::string>) {
            return "a text";
        } else {
            return "a list of its kind";
        }
    }

    const py::dict & given_;
    std::size_t      known_ = 0;
    std::string      names_;
};

inline ContextOptions context_options(const py::dict & given) {
    ContextOptions o;
    Keywords       in(given);
    in.read("n_ctx", o.n_ctx);
    in.read("n_batch", o.n_batch);
    in.read("n_ubatch", o.n_ubatch);
    in.read("n_seq_max", o.n_seq_max);
    in.read("n_rs_seq", o.n_rs_seq);
    in.read("n_outputs_max", o.n_outputs_max);
    in.read("flash_attn", o.flash_attn);
    in.read("type_k", o.type_k);
    in.read("type_v", o.type_v);
    in.read("pooling_type", o.pooling_type);
    in.read("attention_type", o.attention_type);
    in.read("rope_scaling_type", o.rope_scaling_type);
    in.read("rope_freq_base", o.rope_freq_base);
    in.read("rope_freq_scale", o.rope_freq_scale);
    in.read("yarn_ext_factor", o.yarn_ext_factor);
    in.read("yarn_attn_factor", o.yarn_attn_factor);
    in.read("yarn_beta_fast", o.yarn_beta_fast);
    in.read("yarn_beta_slow", o.yarn_beta_slow);
    in.read("yarn_orig_ctx", o.yarn_orig_ctx);
    in.read("embeddings", o.embeddings);
    in.read("offload_kqv", o.offload_kqv);
    in.read("op_offload", o.op_offload);
    in.read("swa_full", o.swa_full);
    in.read("kv_unified", o.kv_unified);
    in.read("no_perf", o.no_perf);
    in.read("n_threads", o.n_threads);
    in.read("n_threads_batch", o.n_threads_batch);
    in.finish("A context");
    return o;
}

template <typename T>
std::shared_ptr<T> make_context(const PyModel & model, const PyThreadPool * pool, const PyThreadPool * pool_batch,
                                const py::kwargs & given) {
    const ContextOptions options = context_options(given);
    model.get();  // refuses what is closed
    if (pool == nullptr) {
        return make_unlocked<T>(model.model, nullptr, nullptr, options);
    }
    const PyThreadPool & batch = pool_batch == nullptr ? *pool : *pool_batch;
    pool->get(), batch.get();
    return make_unlocked<T>(model.model, pool->pool, batch.pool, options);
}

}  // namespace smith
