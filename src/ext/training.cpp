#include "training.hpp"

#include <cstring>
#include <regex>

#include "errors.hpp"
#include "llama-ext.h"
#include "llama-model.h"  // n_ctx_train: llama_opt_init() sets it for good, and a saved model would have it
#include "log.hpp"
#include "named.hpp"
#include "training_graph.hpp"

namespace smith {

namespace {

constexpr int64_t     ctx_step    = 256;  // llama_context rounds n_ctx up to a multiple of this
constexpr int64_t     max_ctx     = 65536;
constexpr std::size_t max_pattern = 512;  // deeper nesting would exhaust the stack of std::regex

constexpr Named<ggml_opt_optimizer_type> optimizers[] = { { "adamw", GGML_OPT_OPTIMIZER_TYPE_ADAMW },
                                                          { "sgd", GGML_OPT_OPTIMIZER_TYPE_SGD } };

std::regex pattern(const std::string & text) {
    if (text.size() > max_pattern || text.find('\0') != std::string::npos) {
        throw Error("InvalidOption", "param_filter has " + std::to_string(text.size()) + " bytes. Allowed: at most " +
                                         std::to_string(max_pattern) + ", without NUL.");
    }
    try {
        return std::regex(text);
    } catch (const std::regex_error & error) {
        throw Error("InvalidOption", "param_filter is '" + text + "', which is no regular expression (ECMAScript): " +
                                         error.what() + ".");
    }
}

void check_sizes(const TrainingOptions & o) {
    in_range("n_ctx", o.n_ctx, ctx_step, max_ctx);
    in_range("n_batch", o.n_batch, 1, o.n_ctx);
    in_range("n_ubatch", o.n_ubatch, 1, o.n_batch);
    if (o.n_ctx % ctx_step != 0) {
        throw Error("InvalidOption", "n_ctx is " + std::to_string(o.n_ctx) + ". Allowed: multiples of " + std::to_string(ctx_step) + ".");
    }
    if (o.n_ctx % o.n_batch != 0 || o.n_batch % o.n_ubatch != 0) {
        throw Error("InvalidOption", "n_ctx is " + std::to_string(o.n_ctx) + ", n_batch " + std::to_string(o.n_batch) +
                                         ", n_ubatch " + std::to_string(o.n_ubatch) +
                                         ". Each must be a multiple of the next.");
    }
}

void check_model(const Model & model) {
    const llama_model * m = model.get();
    if (llama_model_n_devices(m) > 0) {
        throw Error("InvalidOption", model.path() + " was loaded with devices, but training is done by the CPU. Load it with "
                                     "devices=[].");
    }
    if (model.rearranges()) {
        throw Error("InvalidOption", model.path() + " was loaded with its weights rearranged, in which form they cannot be "
                                     "trained. Load it with use_extra_bufts=False, load_mode='none'.");
    }
    if (llama_model_has_encoder(m) || llama_model_is_recurrent(m) || llama_model_is_hybrid(m) || llama_model_is_diffusion(m)) {
        throw Error("InvalidOption", model.path() + " cannot be trained: llama.cpp can train causal transformers alone.");
    }
}

ContextOptions context_options(const TrainingOptions & o, int64_t n_threads) {
    ContextOptions c;
    c.n_ctx         = o.n_ctx;
    c.n_batch       = o.n_batch;
    c.n_ubatch      = o.n_ubatch;
    c.n_outputs_max = o.n_batch;  // every token has a loss
    c.flash_attn    = "off";      // has no backward pass
    c.type_k        = "f32";      // gradients pass through what is read from the cache
    c.type_v        = "f32";
    c.n_threads     = n_threads;
    c.n_threads_batch = n_threads;
    return c;
}

struct FreeDataset {
    void operator()(ggml_opt_dataset * dataset) const { ggml_opt_dataset_free(dataset); }
};

struct FreeResult {
    void operator()(ggml_opt_result * result) const { ggml_opt_result_free(result); }
};

}  // namespace

// What upstream calls back for, and what it needs meanwhile.
struct Trainer::Hooks {
    std::regex                 filter;
    std::vector<ggml_tensor *> weights;  // marked as parameters
    std::string                mapped;   // the name of one that lies in the file's pages, or on a device
    std::string                failed;

    ggml_opt_optimizer_params  rates{};
    bool                       one_graph = true;  // between two changes of the weights
    bool                       stepped   = false;
    ggml_opt_context_t         optimizer = nullptr;  // upstream's own, told to callbacks only
    std::vector<ggml_tensor *> sums;                 // of gradients

    std::unique_ptr<ggml_opt_dataset, FreeDataset> dataset;  // one example
    std::unique_ptr<ggml_opt_result, FreeResult>   result{ ggml_opt_result_init() };

    // C++ frames of upstream's lie between here and us, which have no cleanup for exceptions.
    static bool wants(const ggml_tensor * tensor, void * data) noexcept {
        auto & self = *static_cast<Hooks *>(data);
        try {
            if (std::strcmp(tensor->name, "token_embd.weight") == 0 || std::strcmp(tensor->name, "rope_freqs.weight") == 0 ||
                !std::regex_search(tensor->name, self.filter)) {
                return false;  // upstream leaves these two out, but asks
            }
        } catch (const std::regex_error & error) {
            self.failed = error.what();
            return false;
        }
        // A mapped file is read-only memory. There is no other way to see that a buffer is one.
        if (tensor->buffer == nullptr || !ggml_backend_buffer_is_host(tensor->buffer) ||
            std::strcmp(ggml_backend_buffer_name(tensor->buffer), "CPU_Mapped") == 0) {
            self.mapped = tensor->name;
            return false;
        }
        self.weights.push_back(const_cast<ggml_tensor *>(tensor));
        return true;
    }

    void clear_sums() {
        for (ggml_tensor * sum : sums) {
            ggml_set_zero(sum);
        }
    }

    // Called before a graph that changes the weights is computed. Upstream clears the sums of gradients when they are
    // made, and no more where a graph is built for each step, as llama_opt_epoch() does: without us, each step would go
    // along the sum of all gradients so far.
    static ggml_opt_optimizer_params rates_now(void * data) noexcept {
        auto & self  = *static_cast<Hooks *>(data);
        self.stepped = true;
        if (self.optimizer != nullptr && self.sums.empty()) {
            for (ggml_tensor * weight : self.weights) {
                if (ggml_tensor * sum = ggml_opt_grad_acc(self.optimizer, weight)) {
                    self.sums.push_back(sum);
                }
            }
            if (self.one_graph) {
                self.clear_sums();  // of the first step, when they could not be found yet
            }
        }
        return self.rates;
    }

    // Called after each graph, in the thread that called llama_opt_epoch(), without any data of ours.
    static void after_graph(bool, ggml_opt_context_t optimizer, ggml_opt_dataset_t, ggml_opt_result_t, int64_t, int64_t,
                            int64_t) noexcept {
        current->optimizer = optimizer;
        if (current->stepped) {
            current->clear_sums();
            current->stepped = false;
        }
    }

    static thread_local Hooks * current;
};

thread_local Trainer::Hooks * Trainer::Hooks::current = nullptr;

Trainer::Trainer(std::shared_ptr<Model> model, std::shared_ptr<ThreadPool> pool, const TrainingOptions & options)
    : model_(std::move(model)), pool_(std::move(pool)), hooks_(std::make_unique<Hooks>()), n_ctx_(options.n_ctx) {
    check_sizes(options);
    hooks_->filter = pattern(options.param_filter);
    const auto optimizer = named("optimizer", options.optimizer, optimizers);
    context_ = std::make_unique<Context>(model_, pool_, pool_, context_options(options, pool_->n_threads()));
    context_->need_weights();
    context_->need_memory();
    check_model(*model_);
    model_->begin_training();
    alone_ = true;
    try {
        const Context::Turn    turn(*context_);
        const ThreadPool::Turn computing(*pool_);
        set_threads();
        begin(optimizer);
        hooks_->one_graph = options.n_batch == options.n_ubatch;
        hooks_->dataset.reset(ggml_opt_dataset_init(GGML_TYPE_I32, GGML_TYPE_I32, n_ctx_, n_ctx_, 1, 1));
    } catch (...) {
        give_back();
        throw;
    }
}

Trainer::~Trainer() {
    give_back();
}

// llama_opt_epoch() computes with whatever pool and number of threads the backends have, which is upstream's default of 4
// threads without a pool, until a batch has been evaluated in the usual way.
void Trainer::set_threads() {
    llama_token tokens[2] = { 0, 0 };
    if (llama_decode(context_->get(), llama_batch_get_one(tokens, 2)) != 0) {
        throw Error("DecodeFailed", "llama.cpp cannot evaluate two tokens of " + model_->path() + ".");
    }
    // A graph that is stopped half way would leave some of the weights changed. Steps are stopped in between.
    llama_set_abort_callback(context_->get(), nullptr, nullptr);
}

void Trainer::begin(ggml_opt_optimizer_type optimizer) {
    llama_opt_params params = {};
    params.param_filter     = Hooks::wants;
    params.param_filter_ud  = hooks_.get();
    params.get_opt_pars     = Hooks::rates_now;
    params.get_opt_pars_ud  = hooks_.get();
    params.optimizer_type   = optimizer;
    const uint32_t n_ctx_train = model_->get()->hparams.n_ctx_train;
    try {
        llama_opt_init(context_->get(), model_->get(), params);
    } catch (const std::exception & error) {
        model_->get()->hparams.n_ctx_train = n_ctx_train;
        throw Error("NotEnoughMemory", std::string("llama.cpp cannot prepare the training: ") + error.what() + ".");
    }
    model_->get()->hparams.n_ctx_train = n_ctx_train;
    if (!hooks_->failed.empty()) {
        throw Error("InvalidOption", "param_filter cannot be matched with names: " + hooks_->failed + ".");
    }
    if (!hooks_->mapped.empty()) {
        throw Error("InvalidOption", "The weights " + hooks_->mapped + " lie in pages of the model's file, which cannot be "
                                     "changed. Load the model with load_mode='none', lazy_mode='off'.");
    }
    if (hooks_->weights.empty()) {
        throw Error("InvalidOption", "param_filter matches no weights of the type f32, which alone can be trained. Look at the "
                                     "names (gguf-dump), or make an F32 model: quantize(src, dst, 'F32', allow_requantize=True).");
    }
    const auto    n_ubatch = static_cast<uint32_t>(context_->n_ubatch());
    ggml_cgraph * graph    = llama_graph_reserve(context_->get(), n_ubatch, 1, n_ubatch);
    if (graph == nullptr) {
        throw Error("NotEnoughMemory", "There is no memory for the graph of " + std::to_string(n_ubatch) + " tokens. Use a "
                                       "smaller n_ctx or n_ubatch.");
    }
    check_trainable(graph);
    std::size_t bytes = 0;
    for (const ggml_tensor * weight : hooks_->weights) {
        names_.emplace_back(weight->name);
        n_weights_ += ggml_nelements(weight);
        bytes += ggml_nbytes(weight);
    }
    bytes_ = step_bytes(graph) + bytes * (optimizer == GGML_OPT_OPTIMIZER_TYPE_ADAMW ? 3 : 1);
}

StepResult Trainer::step(const std::vector<llama_token> & tokens, const StepOptions & options) {
    const Context::Turn turn(*context_);
    const auto          n = static_cast<std::size_t>(n_ctx_);
    if (tokens.size() != n + 1) {
        throw Error("InvalidOption", "An example has " + std::to_string(tokens.size()) + " tokens. It must have n_ctx + 1: " +
                                         std::to_string(n + 1) + ".");
    }
    model_->check_tokens(tokens);
    const auto rate  = in_range("learning_rate", static_cast<float>(options.learning_rate), 1e-12f, 1.0f);
    const auto decay = in_range("weight_decay", static_cast<float>(options.weight_decay), 0.0f, 1.0f);
    // Upstream's defaults for the rest.
    hooks_->rates.adamw = { rate, 0.9f, 0.999f, 1e-8f, decay };
    hooks_->rates.sgd   = { rate, decay };
    std::memcpy(ggml_opt_dataset_data(hooks_->dataset.get())->data, tokens.data(), n * sizeof(llama_token));
    std::memcpy(ggml_opt_dataset_labels(hooks_->dataset.get())->data, tokens.data() + 1, n * sizeof(llama_token));
    ggml_opt_result_t result = hooks_->result.get();
    ggml_opt_result_reset(result);

    llama_model &    model       = *model_->get();
    const uint32_t   n_ctx_train = model.hparams.n_ctx_train;
    std::string      why         = take_complaints();
    model.hparams.n_ctx_train    = static_cast<uint32_t>(n_ctx_);  // how many tokens upstream reads from the example
    Hooks::current               = hooks_.get();
    try {
        const ThreadPool::Turn computing(*pool_);
        const Model::Change    changing(*model_);
        llama_opt_epoch(context_->get(), hooks_->dataset.get(), result, result, options.train ? 1 : 0, Hooks::after_graph,
                        Hooks::after_graph);
        why = "";
    } catch (const Error &) {
        model.hparams.n_ctx_train = n_ctx_train;
        throw;
    } catch (const std::exception & error) {
        why = error.what();
    }
    model.hparams.n_ctx_train = n_ctx_train;

    int64_t done = 0;
    ggml_opt_result_ndata(result, &done);
    if (done != n_ctx_) {
        const std::string complaints = take_complaints();
        throw Error("DecodeFailed", "llama.cpp could not compute the step: " + (why.empty() ? complaints : why));
    }
    StepResult found;
    ggml_opt_result_loss(result, &found.loss, nullptr);
    ggml_opt_result_accuracy(result, &found.accuracy, nullptr);
    return found;
}

void Trainer::give_back() {
    if (context_ && !context_->closed()) {
        context_->close();
    }
    for (ggml_tensor * weight : hooks_->weights) {
        weight->flags &= ~GGML_TENSOR_FLAG_PARAM;  // graphs of sessions would have them as nodes
    }
    hooks_->weights.clear();
    if (alone_) {
        model_->end_training();
        alone_ = false;
    }
}

void Trainer::close() {
    if (closed()) {
        return;
    }
    {
        const Context::Turn turn(*context_);
        context_->close();
    }
    give_back();
}

}  // namespace smith
