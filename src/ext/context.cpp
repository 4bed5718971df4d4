#include "context.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "batch.hpp"
#include "errors.hpp"
#include "interrupt.hpp"
#include "log.hpp"
#include "named.hpp"
#include "shutdown.hpp"

namespace smith {

namespace {

// Of a context without a pool.
int32_t thread_count(const char * name, int64_t n) {
    in_range(name, n, 1, GGML_MAX_N_THREADS);
    need_threads(static_cast<int>(n));
    return static_cast<int32_t>(n);
}

}  // namespace

Context::Context(std::shared_ptr<Model> model, std::shared_ptr<ThreadPool> pool,
                 std::shared_ptr<ThreadPool> pool_batch, const ContextOptions & options)
    : model_(std::move(model)), use_(std::make_unique<Model::Use>(*model_)), pool_(std::move(pool)), pool_batch_(std::move(pool_batch)),
      loan_(std::make_shared<int>(0)), made_by_(getpid()) {
    llama_context_params params = context_params(*model_, options);
    params.n_threads            = pool_ ? pool_->n_threads() : thread_count("n_threads", options.n_threads);
    params.n_threads_batch = pool_ ? pool_batch_->n_threads() : thread_count("n_threads_batch", options.n_threads_batch);
    params.abort_callback      = on_abort;
    params.abort_callback_data = this;
    // Who still holds it after close() needs the model too. In a forked child nothing is freed: see ThreadPool.
    const auto release = [pid = made_by_, kept = model_](llama_context * context) {
        if (getpid() == pid) {
            const Servers::Turn turn(kept->servers());
            llama_free(context);
        }
    };
    context_ = std::shared_ptr<llama_context>(make_context(*model_, params), release);
    if (pool_) {
        llama_attach_threadpool(context_.get(), pool_->get(), pool_batch_->get());
    }
    n_outputs_max_ = llama_model_has_encoder(model_->get()) ? n_batch() : static_cast<int64_t>(params.n_outputs_max);
    embeddings_    = options.embeddings;
    kv_unified_    = options.kv_unified;
    causal_        = llama_get_causal_attn(context_.get());
    reserved_      = 0;
    outputs_needed(n_seq_max());
    taken_.resize(static_cast<std::size_t>(n_seq_max()));
}

Context::~Context() = default;

Context::Turn::Turn(Context & context, const std::atomic<bool> * cancel)
    : lock_(context.in_use_, std::try_to_lock), context_(context) {
    context.need_own_process();
    if (!lock_.owns_lock()) {
        throw Error("SessionBusy", "Another thread is computing in this context. Use a session for each thread (they can "
                                   "share the model), or make it, if it has forks, with on_busy='wait'.");
    }
    if (!context.context_) {
        throw Error("SessionClosed", "The session is closed. Make a new Session.");
    }
    context.cancel_.store(false, std::memory_order_relaxed);
    context.cancel_too_ = cancel;
    context.clear_given();
    context.busy_.store(true, std::memory_order_relaxed);
}

Context::Turn::~Turn() {
    context_.busy_.store(false, std::memory_order_relaxed);
    context_.cancel_too_ = nullptr;
    if (context_.lost_) {
        context_.close();  // nothing can be done with it any more
    }
}

void Context::need_own_process() const {
    if (getpid() != made_by_) {
        throw Error("ForkedProcess", "This session was made before fork(); its threads do not exist in this process. "
                                     "Make a new Session in the child.");
    }
}

void Context::check_servers() {
    try {
        model_->servers().check();
    } catch (const Error &) {
        lost_ = true;
        throw;
    }
}

bool Context::should_stop() const {
    return cancelled() || (cancel_too_ != nullptr && cancel_too_->load(std::memory_order_relaxed)) || shutting_down() ||
           (watching_ && take_interrupt() && must_stop_()) || (leader_ != nullptr && leader_->should_stop());
}

// Called after each node of the graph by the engine's first thread, which is the one that called us.
bool Context::on_abort(void * data) {
    const bool stop = static_cast<const Context *>(data)->should_stop();
    if (stop) {
        hush_log(true);
    }
    return stop;
}

int Context::compute(const Batch & batch, bool encode) {
    std::optional<ThreadPool::Turn> turn;
    if (pool_) {
        const bool prompt = batch.size() > 1;  // as llama_context chooses between its two pools; a rest of one token takes the other
        turn.emplace(*(prompt ? pool_batch_ : pool_), (prompt ? pool_ : pool_batch_).get());
    }
    outputs_.clear();
    const Servers::Turn servers(model_->servers());
    const int status =
        llama_process(context_.get(), encode ? LLAMA_PROCESS_TYPE_ENCODE : LLAMA_PROCESS_TYPE_DECODE, batch.get());
    if (!model_->servers().empty()) {
        // Messages are on their way when llama_process() returns; only then is it known whether they have arrived.
        llama_synchronize(context_.get());
        check_servers();
    }
    if (status == 0) {
        outputs_ = batch.outputs();
        if (encode || embeddings_ || llama_get_memory(context_.get()) == nullptr) {
            outputs_.assign(batch.size(), 1);
        }
    }
    return status;
}

void Context::outputs_needed(int64_t rows) {
    const int64_t width   = model_->n_vocab() + (embeddings_ ? llama_model_n_embd_out(model_->get()) : 0);
    const int64_t numbers = std::max<int64_t>(rows, n_seq_max()) * width;
    if (numbers <= reserved_) {
        return;
    }
    if (loan_.use_count() > 1) {
        throw Error("SessionBusy", "The memory of outputs must grow for " + std::to_string(rows) + " rows, but numpy arrays "
                                   "over it are alive, taken with copy=False. Delete them first, or take copies.");
    }
    reserved_ = numbers;
}

// Each sequence back to its end before the batch. Where the memory cannot forget a part (recurrent models), the whole
// sequence goes, and false is returned.
bool Context::take_back(const std::map<int32_t, int32_t> & ends) {
    llama_memory_t memory = llama_get_memory(context_.get());
    taken_back_           = true;
    for (const auto & [seq_id, end] : ends) {
        if (memory != nullptr && llama_memory_seq_pos_max(memory, seq_id) > end &&
            !llama_memory_seq_rm(memory, seq_id, end + 1, -1)) {
            llama_memory_seq_rm(memory, seq_id, -1, -1);
            taken_back_ = false;
        }
    }
    return taken_back_;
}

void Context::process(Batch & batch, bool encode) {
    need_weights();
    const Batch::Use use(batch);
    const auto       n = static_cast<int64_t>(batch.size());
    llama_memory_t   memory = llama_get_memory(context_.get());
    if (batch.of() != context_.get()) {
        throw Error("InvalidOption", "The batch was made for another context. Make it with Batch(context).");
    }
    if (n == 0) {
        throw Error("InvalidOption", "The batch is empty: add at least one token.");
    }
    if (encode && memory != nullptr && !llama_model_has_encoder(model_->get())) {
        throw Error("InvalidOption", model_->path() + " has no encoder. Use decode.");
    }
    const bool    whole = encode || memory == nullptr;  // evaluated at once, with an output for every token
    const int64_t rows  = whole || embeddings_ ? n : batch.n_outputs();
    if ((whole || !causal_) && n > n_ubatch()) {
        throw Error("InvalidOption", "Without causal attention a batch is evaluated at once: it has " + std::to_string(n) +
                                         " tokens, n_ubatch is " + std::to_string(n_ubatch()) +
                                         ". Give fewer, or make the context with a larger n_ubatch.");
    }
    if (!whole && rows > n_outputs_max_) {
        throw Error("InvalidOption", "The batch wants " + std::to_string(rows) + " outputs; n_outputs_max is " +
                                         std::to_string(n_outputs_max_) + ". Ask for fewer, or make the context with more.");
    }
    outputs_needed(rows);
    if (embeddings_ && llama_pooling_type(context_.get()) != LLAMA_POOLING_TYPE_NONE && !whole) {
        // Upstream pools what is evaluated in one graph, and says nothing where that is not the whole sequence.
        const auto & ids = batch.sequences();
        const bool   one = std::all_of(ids.begin(), ids.end(), [&](int32_t id) { return id == ids.front(); });
        if (n > n_ubatch() || (!one && !kv_unified_)) {
            throw Error("InvalidOption", "Embeddings of sequences are pooled over one graph: give at most n_ubatch (" +
                                             std::to_string(n_ubatch()) + ") tokens, and one sequence at a time unless the "
                                             "context is made with kv_unified=True.");
        }
    }

    std::map<int32_t, int32_t> ends;
    for (const int32_t seq_id : batch.sequences()) {
        if (memory != nullptr && ends.count(seq_id) == 0) {
            ends[seq_id] = llama_memory_seq_pos_max(memory, seq_id);
        }
    }
    if (should_stop()) {
        taken_back_ = true;
        throw Interrupted();
    }
    hush_log(false);
    take_complaints();
    int         status = 0;
    std::string why;
    try {
        status = compute(batch, encode);
    } catch (const Error &) {
        hush_log(false);
        take_back(ends);
        throw;
    } catch (const std::exception & error) {
        status = -3;
        why    = error.what();
    }
    hush_log(false);
    if (status == 2) {
        take_back(ends);
        throw Interrupted();
    }
    if (status != 0) {
        const std::string complaints = take_complaints();
        const bool        clean      = take_back(ends);
        if (status == -1) {
            throw Error("InvalidOption", "llama.cpp refused the batch, and left the memory as it was:\n" + complaints);
        }
        raise_for_decode(status, static_cast<int>(n), clean);
    }
}

void Context::set_embeddings(bool value) {
    if (value && n_outputs_max_ < n_batch()) {
        throw Error("InvalidOption", "With embeddings every token has an output, but n_outputs_max is " +
                                         std::to_string(n_outputs_max_) + " and n_batch " + std::to_string(n_batch()) +
                                         ". Make the context with embeddings=True.");
    }
    embeddings_ = value;
    outputs_.clear();
    llama_set_embeddings(context_.get(), value);
}

void Context::set_causal_attn(bool value) {
    causal_ = value;
    epoch_++;
    llama_set_causal_attn(context_.get(), value);
}

void Context::set_adapters(const std::vector<std::pair<std::shared_ptr<LoraAdapter>, float>> & adapters) {
    std::vector<llama_adapter_lora *>         handles;
    std::vector<float>                        scales;
    std::vector<std::shared_ptr<LoraAdapter>> kept;
    for (const auto & [adapter, scale] : adapters) {
        if (adapter->model().get() != model_.get()) {
            throw Error("InvalidOption", "The adapter was loaded for another model. Load it with LoraAdapter(model, path).");
        }
        if (std::find(kept.begin(), kept.end(), adapter) != kept.end()) {
            throw Error("InvalidOption", "An adapter is given twice. Give it once, with the sum of the scales.");
        }
        scales.push_back(in_range("The scale of an adapter", scale, -1e6f, 1e6f));
        handles.push_back(adapter->get());
        kept.push_back(adapter);
    }
    if (llama_set_adapters_lora(context_.get(), handles.data(), handles.size(), scales.data()) != 0) {
        throw Error("InvalidOption", "llama.cpp cannot apply these adapters.");
    }
    adapters_ = std::move(kept);
    epoch_++;
}

void Context::set_control_vector(const float * data, int64_t layers, int64_t n_embd, int64_t first, int64_t last) {
    need_weights();
    epoch_++;
    if (data == nullptr) {
        llama_set_adapter_cvec(context_.get(), nullptr, 0, 0, -1, -1);
        return;
    }
    const int64_t n_layer = llama_model_n_layer(model_->get());
    const int64_t width   = llama_model_n_embd(model_->get());
    if (n_embd != width || layers < 1 || layers > n_layer - 1) {
        throw Error("InvalidOption", "The control vector has the shape (" + std::to_string(layers) + ", " +
                                         std::to_string(n_embd) + "). Allowed: 1 to " + std::to_string(n_layer - 1) +
                                         " layers, beginning with layer 1, of " + std::to_string(width) + " numbers.");
    }
    in_range("The first layer", first, 1, n_layer - 1);
    in_range("The last layer", last, first, n_layer - 1);
    std::vector<float> all(static_cast<std::size_t>((n_layer - 1) * width), 0.0f);  // upstream keeps what it is not given
    for (int64_t i = 0; i < layers * n_embd; i++) {
        all[static_cast<std::size_t>(i)] = in_range("A number of the control vector", data[i], -1e30f, 1e30f);
    }
    if (llama_set_adapter_cvec(context_.get(), all.data(), all.size(), static_cast<int32_t>(width),
                               static_cast<int32_t>(first), static_cast<int32_t>(last)) != 0) {
        throw Error("NotEnoughMemory", "llama.cpp cannot make the control vector's tensors.");
    }
}

void Context::need_memory() const {
    if (llama_get_memory(context_.get()) == nullptr) {
        throw Error("InvalidOption", model_->path() + " has no memory of tokens: it evaluates each batch by itself.");
    }
}

void Context::need_weights() const {
    if (model_->no_alloc()) {
        throw Error("InvalidOption", model_->path() + " was loaded with no_alloc=True: it can tell how much memory it would "
                                                      "take, but nothing can be evaluated.");
    }
}

void Context::close() {
    adapters_.clear();
    context_.reset();
    pool_.reset();
    pool_batch_.reset();
    use_.reset();
    model_.reset();
}

}  // namespace smith
