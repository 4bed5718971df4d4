// Context's outputs: the logits and embeddings of the last batch. Upstream ends the process for rows that it does not have.
#include <algorithm>
#include <string>

#include "context.hpp"
#include "errors.hpp"

namespace smith {

namespace {

[[noreturn]] void no_output(const char * what, const std::string & why) {
    throw Error("InvalidOption", std::string("There are no ") + what + " to read: " + why);
}

}  // namespace

static int32_t checked_row(const std::vector<int8_t> & outputs, int64_t row, const char * what) {
    if (outputs.empty()) {
        no_output(what, "no batch has been evaluated. Call process() first.");
    }
    if (row == -1) {
        for (std::size_t i = outputs.size(); i-- > 0;) {
            if (outputs[i] != 0) {
                return static_cast<int32_t>(i);
            }
        }
        no_output(what, "the last batch asked for no output. Add a token with output=True.");
    }
    if (row < 0 || row >= static_cast<int64_t>(outputs.size())) {
        no_output(what, "row " + std::to_string(row) + " is not in the last batch, which had " +
                            std::to_string(outputs.size()) + " tokens; -1 is the last output.");
    }
    if (outputs[static_cast<std::size_t>(row)] == 0) {
        no_output(what, "the token at " + std::to_string(row) + " of the last batch was added without output=True.");
    }
    return static_cast<int32_t>(row);
}

const float * Context::logits(int64_t row) {
    const int32_t place = checked_row(outputs_, row, "logits");
    if (llama_get_memory(context_.get()) == nullptr) {
        no_output("logits", "this model gives embeddings alone.");
    }
    const float * values = llama_get_logits_ith(context_.get(), place);
    if (values == nullptr) {
        throw Error("DecodeFailed", "llama.cpp gave no logits for row " + std::to_string(row) + ".");
    }
    return values;
}

const float * Context::embeddings(int64_t row) {
    if (!embeddings_ || llama_pooling_type(context_.get()) != LLAMA_POOLING_TYPE_NONE) {
        no_output("embeddings of tokens", std::string("the context was made with embeddings=") + (embeddings_ ? "True" : "False") +
                                              ", pooling_type='" + pooling_name(llama_pooling_type(context_.get())) +
                                              "'. They need embeddings=True and pooling_type='none'.");
    }
    const float * values = llama_get_embeddings_ith(context_.get(), checked_row(outputs_, row, "embeddings"));
    if (values == nullptr) {
        throw Error("DecodeFailed", "llama.cpp gave no embeddings for row " + std::to_string(row) + ".");
    }
    return values;
}

const float * Context::pooled(int64_t seq_id, int64_t & size) {
    check_seq(seq_id);
    const auto type = llama_pooling_type(context_.get());
    if (!embeddings_ || type == LLAMA_POOLING_TYPE_NONE) {
        no_output("embeddings of sequences", "the context needs embeddings=True and a pooling_type other than 'none'.");
    }
    llama_synchronize(context_.get());
    const float * values = llama_get_embeddings_seq(context_.get(), static_cast<llama_seq_id>(seq_id));
    if (values == nullptr || outputs_.empty()) {
        no_output("embeddings of sequences", "sequence " + std::to_string(seq_id) + " was not in the last batch.");
    }
    size = type == LLAMA_POOLING_TYPE_RANK ? static_cast<int64_t>(llama_model_n_cls_out(model_->get()))
                                           : llama_model_n_embd_out(model_->get());
    return values;
}

const float * Context::all_logits(int64_t & rows) {
    const float * last = logits(-1);
    rows               = std::count(outputs_.begin(), outputs_.end(), 1);
    return last - (rows - 1) * model_->n_vocab();  // outputs lie one after another, in the batch's order
}

const float * Context::all_embeddings(int64_t & rows) {
    const float * last = embeddings(-1);
    rows               = std::count(outputs_.begin(), outputs_.end(), 1);
    return last - (rows - 1) * llama_model_n_embd_out(model_->get());
}

}  // namespace smith
