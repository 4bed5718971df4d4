#include "model_params.hpp"

#include <cmath>
#include <cstring>
#include <regex>

#include "device.hpp"
#include "errors.hpp"
#include "named.hpp"

namespace smith {

namespace {

// Nesting deeper than a text of this length can have would exhaust the stack of std::regex.
constexpr std::size_t max_pattern = 512;

constexpr Named<llama_split_mode> split_modes[] = { { "none", LLAMA_SPLIT_MODE_NONE },
                                                    { "layer", LLAMA_SPLIT_MODE_LAYER },
                                                    { "row", LLAMA_SPLIT_MODE_ROW },
                                                    { "tensor", LLAMA_SPLIT_MODE_TENSOR } };

constexpr Named<llama_lazy_mode> lazy_modes[] = { { "off", LLAMA_LAZY_MODE_OFF },
                                                  { "auto", LLAMA_LAZY_MODE_AUTO },
                                                  { "on", LLAMA_LAZY_MODE_ON } };

// Not llama_load_mode_from_str(): it throws for an unknown name too, but does not say which are known.
llama_load_mode load_mode(const std::string & name) {
    std::string allowed;
    for (int i = LLAMA_LOAD_MODE_AUTO; i <= LLAMA_LOAD_MODE_DIRECT_IO; i++) {
        const auto mode = static_cast<llama_load_mode>(i);
        if (name == llama_load_mode_name(mode)) {
            return mode;
        }
        allowed += (allowed.empty() ? "" : ", ") + std::string(llama_load_mode_name(mode));
    }
    throw Error("InvalidOption", "load_mode is '" + name + "'. Allowed: " + allowed + ".");
}

void check_pattern(const std::string & pattern) {
    if (pattern.empty() || pattern.size() > max_pattern || pattern.find('\0') != std::string::npos) {
        throw Error("InvalidOption", "A pattern of placement has " + std::to_string(pattern.size()) +
                                         " bytes. Allowed: 1 to " + std::to_string(max_pattern) + ", without NUL.");
    }
    try {
        const std::regex compiled(pattern);
    } catch (const std::regex_error & error) {
        throw Error("InvalidOption", "The pattern '" + pattern + "' of placement is no regular expression (ECMAScript): " +
                                         error.what() + ".");
    }
}

template <std::size_t n> void copy_text(char (&out)[n], const std::string & text, const char * what) {
    if (text.size() >= n || text.find('\0') != std::string::npos) {
        throw Error("InvalidOption", "A " + std::string(what) + " of kv_overrides has " + std::to_string(text.size()) +
                                         " bytes. Allowed: at most " + std::to_string(n - 1) + ", without NUL.");
    }
    std::memcpy(out, text.c_str(), text.size() + 1);
}

}  // namespace

llama_model_kv_override kv_override(const std::string & key, const MetaValue & value) {
    if (key.empty()) {
        throw Error("InvalidOption", "A key of kv_overrides is empty. Give one like 'tokenizer.ggml.add_bos_token'.");
    }
    llama_model_kv_override entry = {};
    copy_text(entry.key, key, "key");
    if (const bool * flag = std::get_if<bool>(&value)) {
        entry.tag      = LLAMA_KV_OVERRIDE_TYPE_BOOL;
        entry.val_bool = *flag;
    } else if (const int64_t * number = std::get_if<int64_t>(&value)) {
        entry.tag     = LLAMA_KV_OVERRIDE_TYPE_INT;
        entry.val_i64 = *number;
    } else if (const double * real = std::get_if<double>(&value)) {
        entry.tag     = LLAMA_KV_OVERRIDE_TYPE_FLOAT;
        entry.val_f64 = *real;
    } else {
        entry.tag = LLAMA_KV_OVERRIDE_TYPE_STR;
        copy_text(entry.val_str, std::get<std::string>(value), "text");
    }
    return entry;
}

ModelParams::ModelParams(const ModelOptions & options) : params(llama_model_default_params()) {
    params.vocab_only      = options.vocab_only;
    params.check_tensors   = options.check_tensors;
    params.use_extra_bufts = options.use_extra_bufts;
    params.no_host         = options.no_host;
    params.no_alloc        = options.no_alloc;
    params.load_mtp        = options.load_mtp;
    params.n_gpu_layers    = static_cast<int32_t>(in_range("n_gpu_layers", options.n_gpu_layers, -1, INT32_MAX));
    params.main_gpu        = static_cast<int32_t>(
        in_range("main_gpu", options.main_gpu, -1, static_cast<int64_t>(llama_max_devices()) - 1));
    params.split_mode = named("split_mode", options.split_mode, split_modes);
    params.load_mode  = load_mode(options.load_mode);
    params.lazy_mode  = named("lazy_mode", options.lazy_mode, lazy_modes);
    if (options.no_alloc && options.vocab_only) {
        throw Error("InvalidOption", "no_alloc=True and vocab_only=True exclude each other. Leave one out.");
    }
    if (options.no_alloc) {  // nothing is read; upstream ends the process if it is to be mapped
        params.load_mode = LLAMA_LOAD_MODE_NONE;
        params.lazy_mode = LLAMA_LAZY_MODE_OFF;
    }

    if (options.devices) {
        for (const std::string & name : *options.devices) {
            ggml_backend_dev_t device = accelerator(name);
            for (ggml_backend_dev_t known : devices_) {
                if (known == device) {
                    throw Error("InvalidOption", "devices names '" + name + "' twice. Name each device once.");
                }
            }
            devices_.push_back(device);
        }
        in_range("The number of devices", static_cast<int64_t>(devices_.size()), 0,
                 static_cast<int64_t>(llama_max_devices()));
        devices_.push_back(nullptr);
        params.devices = devices_.data();
    }
    if (!options.tensor_split.empty()) {
        in_range("The number of values in tensor_split", static_cast<int64_t>(options.tensor_split.size()), 1,
                 static_cast<int64_t>(llama_max_devices()));
        for (const float share : options.tensor_split) {
            in_range("A value of tensor_split", share, 0.0f, 1e9f);
        }
        split_ = options.tensor_split;
        split_.resize(llama_max_devices(), 0.0f);
        params.tensor_split = split_.data();
    }
    if (!options.placement.empty()) {
        in_range("The number of patterns in placement", static_cast<int64_t>(options.placement.size()), 1,
                 static_cast<int64_t>(llama_max_tensor_buft_overrides()) - 1);
        patterns_.reserve(options.placement.size());  // upstream keeps pointers to the texts
        for (const auto & [pattern, where] : options.placement) {
            check_pattern(pattern);
            patterns_.push_back(pattern);
            placement_.push_back({ patterns_.back().c_str(), buffer_type(where) });
        }
        placement_.push_back({ nullptr, nullptr });
        params.tensor_buft_overrides = placement_.data();
    }
    if (!options.kv_overrides.empty()) {
        for (const auto & [key, value] : options.kv_overrides) {
            overrides_.push_back(kv_override(key, value));
        }
        overrides_.push_back({});  // ends with an empty key
        params.kv_overrides = overrides_.data();
    }
}

void ModelParams::add(const Servers & servers) {
    if (servers.empty()) {
        return;
    }
    if (params.split_mode == LLAMA_SPLIT_MODE_ROW || params.split_mode == LLAMA_SPLIT_MODE_TENSOR) {
        throw Error("InvalidOption", "RPC servers take whole layers. Use split_mode='layer' or 'none' with rpc.");
    }
    std::vector<ggml_backend_dev_t> all = servers.devices();
    if (params.devices == nullptr) {
        const auto here = gpus();
        all.insert(all.end(), here.begin(), here.end());
    } else {
        all.insert(all.end(), devices_.begin(), devices_.end() - 1);  // without its nullptr
    }
    in_range("The number of devices with those of rpc", static_cast<int64_t>(all.size()), 1,
             static_cast<int64_t>(llama_max_devices()));
    all.push_back(nullptr);
    devices_       = std::move(all);
    params.devices = devices_.data();
}

}  // namespace smith
