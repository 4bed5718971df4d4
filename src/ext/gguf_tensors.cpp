#include "gguf_tensors.hpp"

#include <unordered_set>

#include "ggml.h"

namespace smith {

namespace {

constexpr uint64_t max_name_length = GGML_MAX_NAME - 1;  // upstream's names have 64 bytes with the zero

// Bytes of a tensor's data; throws if its shape or type is impossible.
uint64_t tensor_bytes(const GgufReader & in, const std::string & name, uint32_t type, const int64_t * shape) {
    if (type >= GGML_TYPE_COUNT || ggml_blck_size(static_cast<ggml_type>(type)) == 0) {
        in.invalid("has the tensor '" + name + "' of unknown type " + std::to_string(type) +
                   ": a newer llama.cpp may read it.");
    }
    const auto    ggml  = static_cast<ggml_type>(type);
    const int64_t block = ggml_blck_size(ggml);
    if (shape[0] % block != 0) {
        in.invalid("has the tensor '" + name + "' with rows of " + std::to_string(shape[0]) + " values, not a multiple of " +
                   std::to_string(block) + " as " + ggml_type_name(ggml) + " needs.");
    }
    uint64_t bytes = static_cast<uint64_t>(shape[0] / block) * ggml_type_size(ggml);
    uint64_t count = static_cast<uint64_t>(shape[0]);
    for (int i = 1; i < GGML_MAX_DIMS; i++) {
        if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(shape[i]), &bytes) ||
            __builtin_mul_overflow(count, static_cast<uint64_t>(shape[i]), &count)) {
            in.invalid("has the tensor '" + name + "' with an impossible size.");
        }
    }
    return bytes;
}

bool ends_with(const std::string & text, const std::string & end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Engines answer a type that an operation does not know by ending the process, from any of their threads. What is added or
// multiplied number by number, or convolved, has to be F32; other weights are floating-point numbers or quantised; tables of ids are whole.
void need_computable(const GgufReader & in, const std::string & name, uint32_t type) {
    bool plain = ends_with(name, ".bias") || ends_with(name, ".ssm_a") || ends_with(name, ".ssm_d");
    for (const char * part : { "norm", "ssm_conv1d", "shortconv.conv", "attn_sinks", "rope_freqs", "rope_factors_" }) {
        plain = plain || name.find(part) != std::string::npos;
    }
    plain = plain && !ends_with(name, ".lora_a") && !ends_with(name, ".lora_b");
    if (plain && type != GGML_TYPE_F32) {
        in.invalid("has the tensor '" + name + "' of type " + ggml_type_name(static_cast<ggml_type>(type)) +
                   ", where engines compute with f32 only. Convert it anew.");
    }
    switch (type) {
        case GGML_TYPE_I8: case GGML_TYPE_I16: case GGML_TYPE_F64: case GGML_TYPE_Q8_1: case GGML_TYPE_Q8_K:
            in.invalid("has the tensor '" + name + "' of type " + ggml_type_name(static_cast<ggml_type>(type)) +
                       ", which no engine takes for weights. Convert it anew.");
        case GGML_TYPE_I32: case GGML_TYPE_I64:
            if (ends_with(name, ".weight") && name.find("tid2eid") == std::string::npos) {
                in.invalid("has the weights '" + name + "' of type " + ggml_type_name(static_cast<ggml_type>(type)) +
                           ", which is for tables of ids. Convert it anew.");
            }
            break;
        default:
            break;
    }
}

}  // namespace

void check_tensors(GgufReader & in, uint64_t n_tensors, uint32_t alignment, bool model) {
    uint64_t                        data_end = 0;  // relative to the start of the data
    std::string                     last;
    std::unordered_set<std::string> seen;
    for (uint64_t i = 0; i < n_tensors; i++) {
        const std::string name   = in.read_string(max_name_length, "tensor name");
        const auto        n_dims = in.read<uint32_t>("a tensor");
        if (!seen.insert(name).second) {
            in.invalid("has the tensor '" + name + "' twice.");
        }
        if (n_dims > GGML_MAX_DIMS) {
            in.invalid("has the tensor '" + name + "' with " + std::to_string(n_dims) + " dimensions (at most 4).");
        }
        int64_t shape[GGML_MAX_DIMS] = { 1, 1, 1, 1 };
        for (uint32_t d = 0; d < n_dims; d++) {
            shape[d] = in.read<int64_t>("a tensor");
            if (shape[d] <= 0) {
                in.invalid("has the tensor '" + name + "' with a dimension of " + std::to_string(shape[d]) + ".");
            }
        }
        const auto     type   = in.read<uint32_t>("a tensor");
        const auto     offset = in.read<uint64_t>("a tensor");
        const uint64_t bytes  = tensor_bytes(in, name, type, shape);
        uint64_t       end    = 0;
        if (offset % alignment != 0 || __builtin_add_overflow(offset, bytes, &end)) {
            in.invalid("has the tensor '" + name + "' at the impossible offset " + std::to_string(offset) + ".");
        }
        if (model) {
            need_computable(in, name, type);
        }
        if (end > data_end) {
            data_end = end;
            last     = name;
        }
    }
    const uint64_t data_start = (in.position() + alignment - 1) / alignment * alignment;
    if (n_tensors > 0 && (data_start > in.size() || data_end > in.size() - data_start)) {
        in.invalid("is cut short: tensor '" + last + "' ends at byte " + std::to_string(data_start + data_end) +
                   ", the file has " + std::to_string(in.size()) + ". Fetch it again.");
    }
}

}  // namespace smith
