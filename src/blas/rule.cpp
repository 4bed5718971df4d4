#include "blas/rule.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include <strings.h>

#include "blas/engine.h"
#include "ggml-impl.h"

namespace {

// Least batches that were measured to pay beside an engine with AVX2 (figures: docs/openblas.md). What nobody has measured
// is not taken: other types and other CPUs; and what the engine has rearranged while loading never comes here (Q4_0, Q4_K).
// ci/openblas-bench measures; a user's rule takes more.
const smith_blas_table MEASURED = {
    { GGML_TYPE_F32, 64 },   { GGML_TYPE_F16, 256 },  { GGML_TYPE_BF16, 32 },
    { GGML_TYPE_Q8_0, 256 }, { GGML_TYPE_Q5_0, 256 }, { GGML_TYPE_Q6_K, 256 },
};
constexpr int64_t UPSTREAM_BATCH = 32;
constexpr int64_t LEAST_SIDE     = 32; // as upstream: rows of weights, and their length
constexpr int64_t LARGEST        = std::numeric_limits<int32_t>::max(); // of a side, by OpenBLAS's integers

std::string types() {
    std::string all;
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        const auto * traits = ggml_get_type_traits(static_cast<ggml_type>(i));
        if (i == GGML_TYPE_F32 || (traits->to_float != nullptr && traits->blck_size > 0)) {
            all += (all.empty() ? "" : ", ") + std::string(traits->type_name);
        }
    }
    return all;
}

bool type_from_name(const std::string & name, ggml_type & type) {
    for (int i = 0; i < GGML_TYPE_COUNT; i++) {
        type               = static_cast<ggml_type>(i);
        const auto * traits = ggml_get_type_traits(type);
        if ((type == GGML_TYPE_F32 || traits->to_float != nullptr) && traits->type_name != nullptr &&
            strcasecmp(name.c_str(), traits->type_name) == 0) {
            return true;
        }
    }
    return false;
}

std::string parse_word(const std::string & word, smith_blas_table & table) {
    const size_t      equals = word.find('=');
    const std::string name   = word.substr(0, equals);
    ggml_type         type;
    if (equals == std::string::npos) {
        return "'" + word + "' is not TYPE=BATCH, nor is it the only word and `none` or `upstream`";
    }
    if (!type_from_name(name, type)) {
        return "'" + name + "' is no type of weights; there are " + types();
    }
    const std::string batch = word.substr(equals + 1);
    if (batch == "never") {
        table.erase(type);
        return "";
    }
    if (batch.empty() || batch.size() > 9 || batch.find_first_not_of("0123456789") != std::string::npos ||
        std::stol(batch) < 1) {
        return "'" + batch + "' is no batch for " + name + ": a number from 1, or `never`";
    }
    table[type] = std::stol(batch);
    return "";
}

// With AVX-512 both sides have other kernels, and for BF16 the engine has instructions that OpenBLAS's sgemm has not.
smith_blas_table measured() {
    const bool here = smith_engine_has("AVX2") && !smith_engine_has("AVX512");
    return here ? MEASURED : smith_blas_table{};
}

const smith_blas_table & the_table() {
    static const smith_blas_table table = [] {
        smith_blas_table chosen = measured();
        const char *     text   = std::getenv(SMITH_BLAS_RULE);
        if (text != nullptr) {
            const std::string wrong = smith_blas_parse(text, chosen);
            if (!wrong.empty()) {
                GGML_LOG_ERROR("%s=%s: %s. The BLAS backend takes nothing until that is put right.\n", SMITH_BLAS_RULE,
                               text, wrong.c_str());
                chosen.clear();
            }
        }
        return chosen;
    }();
    return table;
}

bool fits(int64_t side, int64_t least) {
    return side >= least && side <= LARGEST;
}

} // namespace

std::string smith_blas_parse(const char * text, smith_blas_table & table) {
    const std::string all = text;
    if (all == "none" || all == "upstream") {
        table.clear();
        for (int i = 0; all == "upstream" && i < GGML_TYPE_COUNT; i++) {
            const auto type = static_cast<ggml_type>(i);
            if (type == GGML_TYPE_F32 || ggml_get_type_traits(type)->to_float != nullptr) {
                table[type] = UPSTREAM_BATCH;
            }
        }
        return "";
    }
    smith_blas_table result = table;
    for (size_t at = 0; at <= all.size();) {
        const size_t      comma = std::min(all.find(',', at), all.size());
        const std::string wrong = parse_word(all.substr(at, comma - at), result);
        if (!wrong.empty()) {
            return wrong;
        }
        at = comma + 1;
    }
    table = result;
    return "";
}

bool smith_blas_takes(const struct ggml_tensor * op) {
    const ggml_tensor * src0 = op->src[0];
    const ggml_tensor * src1 = op->src[1];
    if (src1->type != GGML_TYPE_F32 || !ggml_is_contiguous(src0) || !ggml_is_contiguous(src1)) {
        return false;
    }
    if (!fits(src0->ne[0], LEAST_SIDE) || !fits(src0->ne[1], LEAST_SIDE)) {
        return false;
    }
    if (!smith_engine_found()) {
        return false;
    }
    const auto & table = the_table();
    const auto   least = table.find(src0->type);
    return least != table.end() && fits(op->ne[1], least->second);
}
