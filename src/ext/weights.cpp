#include "weights.hpp"

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "errors.hpp"
#include "ggml.h"
#include "gguf.h"
#include "gguf.hpp"
#include "model.hpp"

namespace smith {

namespace {

struct FreeGguf {
    void operator()(gguf_context * file) const { gguf_free(file); }
};

struct Tensor {
    std::string name;
    double      bytes;
    double      rows;
};

// The tensors of one file, after check_gguf() has found it sound.
void read_tensors(const std::string & path, std::vector<Tensor> & out) {
    check_gguf(path, false);  // it may be another file by now, and upstream ends the process on a broken one
    ggml_context *                          shapes = nullptr;
    std::unique_ptr<gguf_context, FreeGguf> file(gguf_init_from_file(path.c_str(), { /*no_alloc=*/true, &shapes }));
    const std::unique_ptr<ggml_context, decltype(&ggml_free)> owner(shapes, &ggml_free);
    if (!file || shapes == nullptr) {
        throw Error("ModelNotFound", path + " cannot be read again to see how many bytes a token needs.");
    }
    for (ggml_tensor * t = ggml_get_first_tensor(shapes); t != nullptr; t = ggml_get_next_tensor(shapes, t)) {
        out.push_back({ t->name, static_cast<double>(ggml_nbytes(t)), static_cast<double>(ggml_nrows(t)) });
    }
}

// Paths of all files of a model: one, or the pieces of a split one.
std::vector<std::string> files(const Model & model) {
    const int count = std::atoi(model.metadata("split.count").c_str());
    char      prefix[4096];
    if (count < 2 || llama_split_prefix(prefix, sizeof(prefix), model.path().c_str(), 0, count) <= 0) {
        return { model.path() };
    }
    std::vector<std::string> paths;
    for (int i = 0; i < count; i++) {
        char path[4096];
        llama_split_path(path, sizeof(path), prefix, i, count);
        paths.emplace_back(path);
    }
    return paths;
}

bool has(const std::string & text, const char * part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

int64_t bytes_per_token(const Model & model) {
    std::vector<Tensor> tensors;
    for (const std::string & path : files(model)) {
        read_tensors(path, tensors);
    }
    bool own_output = false;
    for (const Tensor & tensor : tensors) {
        own_output = own_output || tensor.name == "output.weight";
    }
    const std::string prefix  = model.metadata("general.architecture") + ".";
    const double      experts = std::atof(model.metadata(prefix + "expert_count").c_str());
    const double      used    = std::atof(model.metadata(prefix + "expert_used_count").c_str());
    const double      share   = experts > 0 && used > 0 && used < experts ? used / experts : 1;

    double bytes = 0;
    for (const Tensor & tensor : tensors) {
        const bool looked_up = (tensor.name == "token_embd.weight" && own_output) ||
                               tensor.name == "per_layer_token_embd.weight";  // one row for each token
        bytes += tensor.bytes * (looked_up ? 1 / tensor.rows : has(tensor.name, "_exps.") ? share : 1);
    }
    return static_cast<int64_t>(bytes);
}

}  // namespace smith
