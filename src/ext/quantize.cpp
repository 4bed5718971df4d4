#include "quantize.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <regex>

#include "engine.hpp"
#include "errors.hpp"
#include "ggml.h"
#include "gguf.hpp"
#include "llama.h"
#include "log.hpp"
#include "named.hpp"
#include "shape.hpp"

namespace smith {

namespace {

constexpr std::size_t max_pattern = 512;  // deeper nesting would exhaust the stack of std::regex

// As llama-quantize names them.
constexpr Named<llama_ftype> types[] = {
    { "F32", LLAMA_FTYPE_ALL_F32 },           { "F16", LLAMA_FTYPE_MOSTLY_F16 },
    { "BF16", LLAMA_FTYPE_MOSTLY_BF16 },      { "Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0 },
    { "Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K },      { "Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0 },
    { "Q5_1", LLAMA_FTYPE_MOSTLY_Q5_1 },      { "Q5_K_S", LLAMA_FTYPE_MOSTLY_Q5_K_S },
    { "Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M },  { "Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0 },
    { "Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1 },      { "Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S },
    { "Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M },  { "IQ4_NL", LLAMA_FTYPE_MOSTLY_IQ4_NL },
    { "IQ4_XS", LLAMA_FTYPE_MOSTLY_IQ4_XS },  { "MXFP4_MOE", LLAMA_FTYPE_MOSTLY_MXFP4_MOE },
    { "Q3_K_S", LLAMA_FTYPE_MOSTLY_Q3_K_S },  { "Q3_K_M", LLAMA_FTYPE_MOSTLY_Q3_K_M },
    { "Q3_K_L", LLAMA_FTYPE_MOSTLY_Q3_K_L },  { "IQ3_XXS", LLAMA_FTYPE_MOSTLY_IQ3_XXS },
    { "IQ3_XS", LLAMA_FTYPE_MOSTLY_IQ3_XS },  { "IQ3_S", LLAMA_FTYPE_MOSTLY_IQ3_S },
    { "IQ3_M", LLAMA_FTYPE_MOSTLY_IQ3_M },    { "Q2_K", LLAMA_FTYPE_MOSTLY_Q2_K },
    { "Q2_K_S", LLAMA_FTYPE_MOSTLY_Q2_K_S },  { "Q2_0", LLAMA_FTYPE_MOSTLY_Q2_0 },
    { "IQ2_XXS", LLAMA_FTYPE_MOSTLY_IQ2_XXS }, { "IQ2_XS", LLAMA_FTYPE_MOSTLY_IQ2_XS },
    { "IQ2_S", LLAMA_FTYPE_MOSTLY_IQ2_S },    { "IQ2_M", LLAMA_FTYPE_MOSTLY_IQ2_M },
    { "TQ1_0", LLAMA_FTYPE_MOSTLY_TQ1_0 },    { "TQ2_0", LLAMA_FTYPE_MOSTLY_TQ2_0 },
    { "IQ1_S", LLAMA_FTYPE_MOSTLY_IQ1_S },    { "IQ1_M", LLAMA_FTYPE_MOSTLY_IQ1_M },
    { "Q1_0", LLAMA_FTYPE_MOSTLY_Q1_0 },
};

const char * copy_type = "COPY";  // all tensors as they are

// Of which ggml_quantize_chunk() can make rows; for the others it ends the process.
constexpr ggml_type tensor_types[] = {
    GGML_TYPE_F32,     GGML_TYPE_F16,    GGML_TYPE_BF16, GGML_TYPE_Q8_0,   GGML_TYPE_Q6_K,   GGML_TYPE_Q5_0,
    GGML_TYPE_Q5_1,    GGML_TYPE_Q5_K,   GGML_TYPE_Q4_0, GGML_TYPE_Q4_1,   GGML_TYPE_Q4_K,   GGML_TYPE_Q3_K,
    GGML_TYPE_Q2_K,    GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS, GGML_TYPE_IQ3_S, GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ2_XXS,
    GGML_TYPE_IQ2_XS,  GGML_TYPE_IQ2_S,  GGML_TYPE_IQ1_S, GGML_TYPE_IQ1_M, GGML_TYPE_TQ1_0,  GGML_TYPE_TQ2_0,
    GGML_TYPE_MXFP4,   GGML_TYPE_NVFP4,  GGML_TYPE_Q1_0, GGML_TYPE_Q2_0,
};

ggml_type tensor_type(const char * option, const std::string & name) {
    std::string allowed;
    for (const ggml_type type : tensor_types) {
        if (name == ggml_type_name(type)) {
            return type;
        }
        allowed += (allowed.empty() ? "" : ", ") + std::string(ggml_type_name(type));
    }
    throw Error("InvalidOption", std::string(option) + " is '" + name + "'. Allowed: " + allowed + ".");
}

bool same_file(const std::string & a, const std::string & b) {
    struct stat one = {}, two = {};
    return stat(a.c_str(), &one) == 0 && stat(b.c_str(), &two) == 0 && one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

// All files of a split model, of which `path` is one; or that one.
std::vector<std::string> parts(const std::string & path) {
    static const std::regex pattern(R"(-(\d{5})-of-(\d{5})\.gguf$)");
    std::smatch             match;
    if (path.size() > 4000 || !std::regex_search(path, match, pattern)) {
        return { path };
    }
    const std::string        prefix = path.substr(0, static_cast<std::size_t>(match.position(0)));
    const int                count  = std::stoi(match[2]);
    std::vector<std::string> all;
    for (int i = 0; i < count; i++) {
        char text[4096];
        llama_split_path(text, sizeof(text), prefix.c_str(), i, count);
        all.emplace_back(text);
    }
    return all;
}

void need_other_file(const std::string & from, const std::string & to, bool keep_split) {
    const std::vector<std::string> inputs = parts(from);
    for (std::size_t i = 0; i < inputs.size(); i++) {
        char text[4096] = {};
        if (keep_split && to.size() < 4000) {
            llama_split_path(text, sizeof(text), to.c_str(), static_cast<int>(i), static_cast<int>(inputs.size()));
        }
        for (const std::string & input : inputs) {
            if (same_file(input, to) || same_file(input, text)) {
                throw Error("InvalidOption", to + " is the file that is read while it is written. Give another.");
            }
        }
    }
}

struct Given {
    std::vector<llama_model_imatrix_data>    imatrix;
    std::vector<llama_model_kv_override>     overrides;
    std::vector<llama_model_tensor_override> types;
    std::vector<int32_t>                     pruned;
};

void fill(llama_model_quantize_params & params, const QuantizeOptions & options, Given & given) {
    for (const auto & [name, values] : options.imatrix) {
        for (const float value : values) {
            if (!std::isfinite(value)) {
                throw Error("InvalidOption", "The imatrix of '" + name + "' holds a value that is not a finite number.");
            }
        }
        given.imatrix.push_back({ name.c_str(), values.data(), values.size() });
    }
    for (const auto & [key, value] : options.kv_overrides) {
        given.overrides.push_back(kv_override(key, value));
    }
    for (const auto & [pattern, type] : options.tensor_types) {
        if (pattern.empty() || pattern.size() > max_pattern || pattern.find('\0') != std::string::npos) {
            throw Error("InvalidOption", "A pattern of tensor_types has " + std::to_string(pattern.size()) +
                                             " bytes. Allowed: 1 to " + std::to_string(max_pattern) + ", without NUL.");
        }
        try {
            const std::regex compiled(pattern);
        } catch (const std::regex_error & error) {
            throw Error("InvalidOption", "The pattern '" + pattern + "' of tensor_types is no regular expression "
                                         "(ECMAScript): " + error.what() + ".");
        }
        given.types.push_back({ pattern.c_str(), tensor_type("A type in tensor_types", type) });
    }
    for (const int64_t layer : options.prune_layers) {
        given.pruned.push_back(static_cast<int32_t>(in_range("A layer of prune_layers", layer, 0, 511)));
    }
    if (!given.pruned.empty() && !given.imatrix.empty()) {
        // upstream ends the process for an entry of a layer that is pruned
        throw Error("InvalidOption", "prune_layers and imatrix cannot be used together. Prune first, with type='COPY'.");
    }
    if (!given.imatrix.empty()) {
        given.imatrix.push_back({});
        params.imatrix = given.imatrix.data();
    }
    if (!given.overrides.empty()) {
        given.overrides.push_back({});
        params.kv_overrides = given.overrides.data();
    }
    if (!given.types.empty()) {
        given.types.push_back({ nullptr, GGML_TYPE_COUNT });
        params.tt_overrides = given.types.data();
    }
    if (!given.pruned.empty()) {
        given.pruned.push_back(-1);
        params.prune_layers = given.pruned.data();
    }
}

}  // namespace

std::vector<std::string> quantize_types() {
    std::vector<std::string> names;
    for (const auto & type : types) {
        names.emplace_back(type.name);
    }
    names.emplace_back(copy_type);
    return names;
}

QuantizeResult quantize(const std::string & from, const std::string & to, const std::string & type,
                        const QuantizeOptions & options) {
    engine();
    llama_model_quantize_params params = llama_model_quantize_default_params();
    Given                       given;
    params.only_copy = type == copy_type;
    if (!params.only_copy) {
        params.ftype = named("type", type, types);
    }
    params.nthread                = static_cast<int32_t>(in_range("n_threads", options.n_threads, 1, GGML_MAX_N_THREADS));
    params.allow_requantize       = options.allow_requantize;
    params.quantize_output_tensor = options.quantize_output_tensor;
    params.pure                   = options.pure;
    params.keep_split             = options.keep_split;
    params.dry_run                = options.dry_run;
    if (!options.output_tensor_type.empty()) {
        params.output_tensor_type = tensor_type("output_tensor_type", options.output_tensor_type);
    }
    if (!options.token_embedding_type.empty()) {
        params.token_embedding_type = tensor_type("token_embedding_type", options.token_embedding_type);
    }
    fill(params, options, given);
    bool first = true;
    for (const std::string & part : parts(from)) {
        const GgufFacts facts = check_gguf(part, first);
        if (first) {
            check_shape(part, facts, options.kv_overrides);
        }
        first = false;
    }
    need_other_file(from, to, options.keep_split);

    // With keep_split upstream makes names from this one; else what is unfinished never has the name of what is whole.
    const std::string target = options.keep_split || options.dry_run ? to : to + ".part";
    bool              stopped = false;
    QuantizeResult    result;
    const LogWatch    watch([&](const char * line) {
        int    done = 0, all = 0;
        double mib  = 0;
        if (std::sscanf(line, "[%d/%d]", &done, &all) == 2 && options.progress && !options.progress(done - 1, all)) {
            stopped = true;
            throw Interrupted();  // upstream's threads rest between tensors; it catches std::exception
        }
        const char * size = std::strstr(line, "model size  =");
        if (size != nullptr && std::sscanf(size, "model size  = %lf", &mib) == 1) {
            result.mib_before = mib;
        }
        size = std::strstr(line, "quant size  =");
        if (size != nullptr && std::sscanf(size, "quant size  = %lf", &mib) == 1) {
            result.mib_after = mib;
        }
    });
    take_complaints();
    std::string why;
    bool        failed = false;
    try {
        failed = llama_model_quantize(from.c_str(), target.c_str(), &params) != 0;
    } catch (const std::exception & error) {
        failed = true;
        why    = error.what();
    }
    if (failed && target != to) {
        std::remove(target.c_str());
    }
    if (stopped) {
        throw Interrupted();
    }
    if (failed) {
        throw Error("InvalidModel", from + " cannot be quantised to " + type + ":\n" + take_complaints() + why);
    }
    if (target != to && std::rename(target.c_str(), to.c_str()) != 0) {
        why = std::strerror(errno);
        std::remove(target.c_str());
        throw Error("ModelNotFound", "Cannot write " + to + ": " + why + ".");
    }
    return result;
}

}  // namespace smith
