#include "state.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>

#include "context.hpp"
#include "errors.hpp"
#include "log.hpp"

namespace smith {

namespace {

constexpr char magic[8] = { 'S', 'M', 'I', 'T', 'H', 'S', 'T', '1' };

// Before upstream's bytes. `fits` is a digest of all that the bytes depend on, and upstream does not check in full.
struct Header {
    char     mark[8];
    uint64_t fits;
    uint64_t sum;   // of the bytes that follow
    uint64_t size;  // of them
    uint32_t kind;  // 0: all sequences, 1: one, 2: the part of one
    uint32_t reserved;
};

uint64_t mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15ull;
    return h ^ (h >> 29);
}

uint64_t digest(uint64_t h, const char * bytes, std::size_t size) {
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t word;
        std::memcpy(&word, bytes, 8);
        h = mix(h, word);
    }
    uint64_t rest = 0;
    std::memcpy(&rest, bytes, size);
    return mix(mix(h, rest), size);
}

uint64_t fits(const Context & context, uint32_t kind) {
    const llama_model * m    = context.model().get();
    const std::string   desc = context.model().desc() + "/" + context.model().metadata("general.architecture");
    uint64_t            h    = digest(1, desc.data(), desc.size());
    for (const int64_t value : { static_cast<int64_t>(llama_model_n_layer(m)), static_cast<int64_t>(llama_model_n_embd(m)),
                                 static_cast<int64_t>(llama_model_n_head_kv(m)),
                                 static_cast<int64_t>(llama_model_n_params(m)) }) {
        h = mix(h, static_cast<uint64_t>(value));
    }
    return kind == 0 ? mix(h, static_cast<uint64_t>(context.n_seq_max())) : h;
}

[[noreturn]] void invalid(const std::string & why) {
    throw Error("InvalidState", "The state cannot be loaded: " + why);
}

void forget(Context & context, std::optional<int64_t> seq_id) {
    if (seq_id) {
        context.seq_rm(*seq_id, -1, -1);
    } else {
        context.memory_clear(true);
    }
}

llama_seq_id checked(const Context & context, std::optional<int64_t> seq_id) {
    context.need_memory();
    context.need_weights();
    if (seq_id) {
        context.check_seq(*seq_id);
    }
    return static_cast<llama_seq_id>(seq_id.value_or(0));
}

}  // namespace

std::string save_state(Context & context, std::optional<int64_t> seq_id, bool partial) {
    const llama_seq_id id = checked(context, seq_id);
    if (partial && !seq_id) {
        throw Error("InvalidOption", "partial=True is for one sequence. Give seq_id.");
    }
    const Servers::Turn turn(context.model().servers());
    const uint32_t    kind  = !seq_id ? 0 : partial ? 2 : 1;
    const auto        flags = static_cast<llama_state_seq_flags>(partial ? LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY : 0);
    llama_context *   ctx   = context.get();
    std::string       bytes;
    take_complaints();
    try {
        const std::size_t size = seq_id ? llama_state_seq_get_size_ext(ctx, id, flags) : llama_state_get_size(ctx);
        bytes.resize(sizeof(Header) + size);
        auto *            out  = reinterpret_cast<uint8_t *>(bytes.data() + sizeof(Header));
        const std::size_t done = seq_id ? llama_state_seq_get_data_ext(ctx, out, size, id, flags)
                                        : llama_state_get_data(ctx, out, size);
        if (done == 0 || done > size) {
            throw Error("DecodeFailed", "llama.cpp cannot copy the state:\n" + take_complaints());
        }
        bytes.resize(sizeof(Header) + done);
    } catch (const std::bad_alloc &) {
        throw Error("NotEnoughMemory", "The state does not fit into memory beside the context.");
    }
    context.check_servers();  // what a lost one would have given is zeros
    Header header = {};
    std::memcpy(header.mark, magic, sizeof(magic));
    header.kind = kind;
    header.fits = fits(context, kind);
    header.size = bytes.size() - sizeof(Header);
    header.sum  = digest(0, bytes.data() + sizeof(Header), header.size);
    std::memcpy(bytes.data(), &header, sizeof(Header));
    return bytes;
}

void load_state(Context & context, const char * bytes, std::size_t size, std::optional<int64_t> seq_id) {
    const llama_seq_id id = checked(context, seq_id);
    Header             header;
    if (size < sizeof(Header) || std::memcmp(bytes, magic, sizeof(magic)) != 0) {
        invalid("these bytes are none. They come from save_state().");
    }
    std::memcpy(&header, bytes, sizeof(Header));
    const char * data = bytes + sizeof(Header);
    if (header.size != size - sizeof(Header) || header.sum != digest(0, data, size - sizeof(Header))) {
        invalid("the bytes are damaged or cut short.");
    }
    if ((header.kind == 0) != !seq_id) {
        invalid(header.kind == 0 ? "it is of a whole context. Leave seq_id out." : "it is of one sequence. Give seq_id.");
    }
    if (header.kind > 2 || header.fits != fits(context, header.kind)) {
        invalid("it is of another model, or of a context with another n_seq_max.");
    }
    const auto *        in = reinterpret_cast<const uint8_t *>(data);
    const Servers::Turn turn(context.model().servers());
    take_complaints();
    std::size_t done = 0;
    std::string why;
    try {
        const auto flags = static_cast<llama_state_seq_flags>(header.kind == 2 ? LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY : 0);
        done = seq_id ? llama_state_seq_set_data_ext(context.get(), in, header.size, id, flags)
                      : llama_state_set_data(context.get(), in, header.size);
    } catch (const std::exception & error) {
        why = error.what();
    }
    context.check_servers();
    if (done != header.size) {
        forget(context, seq_id);
        invalid("it does not fit this context (n_ctx, type_k, type_v, flash_attn, kv_unified): " + take_complaints() + why);
    }
}

void save_state_file(Context & context, const std::string & path, const std::vector<llama_token> & tokens,
                     std::optional<int64_t> seq_id) {
    const llama_seq_id id = checked(context, seq_id);
    context.model().check_tokens(tokens);
    const std::string   part = path + ".part";
    const Servers::Turn turn(context.model().servers());
    take_complaints();
    std::string why;
    bool        done = false;
    try {
        done = seq_id ? llama_state_seq_save_file(context.get(), part.c_str(), id, tokens.data(), tokens.size()) > 0
                      : llama_state_save_file(context.get(), part.c_str(), tokens.data(), tokens.size());
    } catch (const std::exception & error) {
        why = error.what();
    }
    if (!done) {
        std::remove(part.c_str());
        throw Error("ModelNotFound", "Cannot write " + path + ": " + take_complaints() + why);
    }
    try {
        context.check_servers();
    } catch (const Error &) {
        std::remove(part.c_str());
        throw;
    }
    if (std::rename(part.c_str(), path.c_str()) != 0) {
        why = std::strerror(errno);
        std::remove(part.c_str());
        throw Error("ModelNotFound", "Cannot write " + path + ": " + why + ".");
    }
}

std::vector<llama_token> load_state_file(Context & context, const std::string & path, std::optional<int64_t> seq_id) {
    const llama_seq_id id = checked(context, seq_id);
    struct Close {
        void operator()(std::FILE * file) const { std::fclose(file); }
    };
    uint32_t head[3] = {};  // magic, version, number of tokens
    long     size    = 0;
    {
        const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
        if (!file) {
            throw Error("ModelNotFound", "Cannot open " + path + ": " + std::strerror(errno) + ".");
        }
        const bool read = std::fread(head, sizeof(head), 1, file.get()) == 1 && std::fseek(file.get(), 0, SEEK_END) == 0;
        size            = std::ftell(file.get());
        if (!read || head[0] != (seq_id ? LLAMA_STATE_SEQ_MAGIC : LLAMA_SESSION_MAGIC) ||
            head[1] != (seq_id ? LLAMA_STATE_SEQ_VERSION : LLAMA_SESSION_VERSION)) {
            invalid(path + " is not llama.cpp's file of " + (seq_id ? "one sequence." : "a whole context."));
        }
    }
    if (static_cast<uint64_t>(head[2]) * sizeof(llama_token) > static_cast<uint64_t>(size)) {
        invalid(path + " claims " + std::to_string(head[2]) + " tokens and is too short for them.");
    }
    std::vector<llama_token> tokens(head[2]);
    std::size_t              n    = 0;
    bool                     done = false;
    std::string              why;
    const Servers::Turn      turn(context.model().servers());
    take_complaints();
    try {
        llama_token spare;  // upstream takes no pointer for no place
        llama_token * out = tokens.empty() ? &spare : tokens.data();
        done = seq_id ? llama_state_seq_load_file(context.get(), path.c_str(), id, out, tokens.size(), &n) > 0
                      : llama_state_load_file(context.get(), path.c_str(), out, tokens.size(), &n);
    } catch (const std::exception & error) {
        why = error.what();
    }
    context.check_servers();
    if (!done) {
        forget(context, seq_id);
        invalid(path + " is damaged, or of another model or kind of context: " + take_complaints() + why);
    }
    tokens.resize(n);
    return tokens;
}

}  // namespace smith
