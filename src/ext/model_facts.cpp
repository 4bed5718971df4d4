#include "model_facts.hpp"

#include "device.hpp"
#include "llama-ext.h"
#include "model.hpp"
#include "named.hpp"

namespace smith {

namespace {

constexpr Named<enum llama_rope_type> rope_types[] = { { "none", LLAMA_ROPE_TYPE_NONE },
                                                       { "norm", LLAMA_ROPE_TYPE_NORM },
                                                       { "neox", LLAMA_ROPE_TYPE_NEOX },
                                                       { "mrope", LLAMA_ROPE_TYPE_MROPE },
                                                       { "imrope", LLAMA_ROPE_TYPE_IMROPE },
                                                       { "vision", LLAMA_ROPE_TYPE_VISION } };

// Sampling options that a model's file recommends, under upstream's names.
py::dict sampling(const Model & model) {
    py::dict out;
    for (int i = 0; i <= LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_ETA; i++) {
        const char * key = llama_model_meta_key_str(static_cast<llama_model_meta_key>(i));
        if (key == nullptr) {
            continue;
        }
        const std::string value = model.metadata(key);
        if (!value.empty()) {
            const std::string name = key;
            out[to_str(name.substr(name.rfind('.') + 1))] = to_str(value);
        }
    }
    return out;
}

}  // namespace

py::dict facts(const Model & model) {
    const llama_model * m = model.get();
    py::dict            out;
    out["n_ctx_train"]           = llama_model_n_ctx_train(m);
    out["n_embd"]                = llama_model_n_embd(m);
    out["n_embd_inp"]            = llama_model_n_embd_inp(m);
    out["n_embd_out"]            = llama_model_n_embd_out(m);
    out["n_layer"]               = llama_model_n_layer(m);
    out["n_layer_nextn"]         = llama_model_n_layer_nextn(m);
    out["n_head"]                = model.vocab_only() ? 0 : llama_model_n_head(m);
    out["n_head_kv"]             = model.vocab_only() ? 0 : llama_model_n_head_kv(m);
    out["n_swa"]                 = llama_model_n_swa(m);
    out["n_expert"]              = llama_model_n_expert(m);
    out["n_params"]              = llama_model_n_params(m);
    out["size"]                  = llama_model_size(m);
    out["ftype"]                 = to_str(llama_ftype_name(llama_model_ftype(m)));
    out["rope_type"]             = name_of(llama_model_rope_type(m), rope_types);
    out["rope_freq_scale_train"] = llama_model_rope_freq_scale_train(m);
    out["has_encoder"]           = llama_model_has_encoder(m);
    out["has_decoder"]           = llama_model_has_decoder(m);
    out["decoder_start_token"]   = llama_model_decoder_start_token(m);
    out["is_recurrent"]          = llama_model_is_recurrent(m);
    out["is_hybrid"]             = llama_model_is_hybrid(m);
    out["is_diffusion"]          = llama_model_is_diffusion(m);
    py::list devices;
    for (int i = 0; i < llama_model_n_devices(m); i++) {
        devices.append(to_str(ggml_backend_dev_name(llama_model_get_device(m, i))));
    }
    out["devices"] = py::tuple(devices);
    py::list     labels;
    const uint32_t n_labels = llama_model_n_cls_out(m);
    for (uint32_t i = 0; i < n_labels && i < 65536; i++) {
        const char * label = llama_model_cls_label(m, i);
        labels.append(label == nullptr ? py::str("") : to_str(label));
    }
    out["cls_labels"] = py::tuple(labels);
    out["sampling"]   = sampling(model);
    return out;
}

}  // namespace smith
