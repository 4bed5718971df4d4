#include <memory>
#include <string>

#include "errors.hpp"
#include "ggml.h"
#include "gguf.h"
#include "gguf.hpp"
#include "quantize.hpp"

namespace smith {

namespace {

struct Free {
    void operator()(gguf_context * file) const { gguf_free(file); }
    void operator()(ggml_context * tensors) const { ggml_free(tensors); }
};

bool is_f32(const ggml_tensor * t) {
    return t != nullptr && t->type == GGML_TYPE_F32;
}

}  // namespace

// For each weight there are sums of squared activations (name.in_sum2, a row for each expert), and how many they are
// (name.counts).
std::vector<std::pair<std::string, std::vector<float>>> read_imatrix(const std::string & path) {
    check_gguf(path, false);
    ggml_context *                            made = nullptr;
    const std::unique_ptr<gguf_context, Free> file(gguf_init_from_file(path.c_str(), { /*no_alloc=*/false, &made }));
    const std::unique_ptr<ggml_context, Free> tensors(made);
    if (!file || !tensors) {
        throw Error("InvalidModel", path + " cannot be read as an importance matrix.");
    }
    const std::string                                       ending = ".in_sum2";
    std::vector<std::pair<std::string, std::vector<float>>> all;
    for (ggml_tensor * sums = ggml_get_first_tensor(made); sums != nullptr; sums = ggml_get_next_tensor(made, sums)) {
        const std::string name = ggml_get_name(sums);
        if (name.size() <= ending.size() || name.compare(name.size() - ending.size(), ending.size(), ending) != 0) {
            continue;
        }
        const std::string   base   = name.substr(0, name.size() - ending.size());
        const ggml_tensor * counts = ggml_get_tensor(made, (base + ".counts").c_str());
        if (!is_f32(sums) || !is_f32(counts) || ggml_nelements(counts) != ggml_nrows(sums)) {
            throw Error("InvalidModel", path + " has the tensor '" + name + "' without a '.counts' that fits it.");
        }
        const auto *       sum   = static_cast<const float *>(sums->data);
        const auto *       count = static_cast<const float *>(counts->data);
        const int64_t      width = sums->ne[0];
        std::vector<float> values(static_cast<std::size_t>(ggml_nelements(sums)));
        for (std::size_t i = 0; i < values.size(); i++) {
            const float n = count[i / static_cast<std::size_t>(width)];
            values[i]     = n > 0 ? sum[i] / n : 1.0f;  // as llama-quantize has it, for experts never asked
        }
        all.emplace_back(base, std::move(values));
    }
    if (all.empty()) {
        throw Error("InvalidModel", path + " has no tensor '<weight>.in_sum2': it is no importance matrix of llama-imatrix.");
    }
    return all;
}

}  // namespace smith
