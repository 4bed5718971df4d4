#include "handles.hpp"
#include "named.hpp"

using smith::Model;
using smith::Named;
using smith::PyModel;

// The vocabulary of a model, and what keeps it alive.
struct PyVocab {
    std::shared_ptr<Model> model;

    const llama_vocab * get() const { return model->vocab(); }
};

static constexpr Named<enum llama_vocab_type> vocab_types[] = {
    { "none", LLAMA_VOCAB_TYPE_NONE }, { "spm", LLAMA_VOCAB_TYPE_SPM },       { "bpe", LLAMA_VOCAB_TYPE_BPE },
    { "wpm", LLAMA_VOCAB_TYPE_WPM },   { "ugm", LLAMA_VOCAB_TYPE_UGM },       { "rwkv", LLAMA_VOCAB_TYPE_RWKV },
    { "plamo2", LLAMA_VOCAB_TYPE_PLAMO2 }, { "test", LLAMA_VOCAB_TYPE_TEST },
};

static constexpr Named<llama_token_attr> attributes[] = {
    { "unknown", LLAMA_TOKEN_ATTR_UNKNOWN },           { "unused", LLAMA_TOKEN_ATTR_UNUSED },
    { "normal", LLAMA_TOKEN_ATTR_NORMAL },             { "control", LLAMA_TOKEN_ATTR_CONTROL },
    { "user_defined", LLAMA_TOKEN_ATTR_USER_DEFINED }, { "byte", LLAMA_TOKEN_ATTR_BYTE },
    { "normalized", LLAMA_TOKEN_ATTR_NORMALIZED },     { "lstrip", LLAMA_TOKEN_ATTR_LSTRIP },
    { "rstrip", LLAMA_TOKEN_ATTR_RSTRIP },             { "single_word", LLAMA_TOKEN_ATTR_SINGLE_WORD },
};

// The vocabulary's token, after its bounds have been checked: upstream indexes without looking, or throws.
static llama_token checked(const PyVocab & self, int64_t token) {
    self.model->need_vocabulary();
    self.model->check_token(token);
    return static_cast<llama_token>(token);
}

static py::dict special(const PyVocab & self) {
    const llama_vocab * v = self.get();
    py::dict            out;
    const auto          add = [&](const char * name, llama_token token) {
        if (token != LLAMA_TOKEN_NULL) {
            out[name] = token;
        }
    };
    add("bos", llama_vocab_bos(v));
    add("eos", llama_vocab_eos(v));
    add("eot", llama_vocab_eot(v));
    add("sep", llama_vocab_sep(v));
    add("nl", llama_vocab_nl(v));
    add("pad", llama_vocab_pad(v));
    add("mask", llama_vocab_mask(v));
    add("fim_pre", llama_vocab_fim_pre(v));
    add("fim_suf", llama_vocab_fim_suf(v));
    add("fim_mid", llama_vocab_fim_mid(v));
    add("fim_pad", llama_vocab_fim_pad(v));
    add("fim_rep", llama_vocab_fim_rep(v));
    add("fim_sep", llama_vocab_fim_sep(v));
    return out;
}

static py::tuple suppressed(const PyVocab & self) {
    int32_t             n      = 0;
    const llama_token * tokens = llama_vocab_get_suppress_tokens(self.get(), &n);
    py::list            out;
    for (int32_t i = 0; tokens != nullptr && i < n; i++) {
        out.append(tokens[i]);
    }
    return py::tuple(out);
}

// Every token's bytes at once: for grammars and tables, without a call for each.
static py::list pieces(const PyVocab & self, bool special_too) {
    self.model->need_vocabulary();
    const auto texts = smith::unlocked([&] {
        std::vector<std::string> all;
        for (llama_token token = 0; token < self.model->n_vocab(); token++) {
            all.push_back(self.model->piece(token, special_too));
        }
        return all;
    });
    py::list out;
    for (const std::string & text : texts) {
        out.append(py::bytes(text));
    }
    return out;
}

void register_vocab(py::module_ & m) {
    py::class_<PyVocab>(m, "Vocab", "The vocabulary of a model, which it keeps alive. Any thread may use it.")
        .def(py::init([](const PyModel & model) {
                 model.get();  // refuses what is closed
                 return PyVocab{ model.model };
             }),
             py::arg("model"))
        .def("__len__", [](const PyVocab & self) { return self.model->n_vocab(); })
        .def_property_readonly("type", [](const PyVocab & self) { return name_of(llama_vocab_type(self.get()), vocab_types); })
        .def_property_readonly("special", &special)
        .def_property_readonly("suppress_tokens", &suppressed)
        .def_property_readonly("add_bos", [](const PyVocab & self) { return llama_vocab_get_add_bos(self.get()); })
        .def_property_readonly("add_eos", [](const PyVocab & self) { return llama_vocab_get_add_eos(self.get()); })
        .def_property_readonly("add_sep", [](const PyVocab & self) { return llama_vocab_get_add_sep(self.get()); })
        .def(
            "text",
            [](const PyVocab & self, int64_t token) { return to_str(llama_vocab_get_text(self.get(), checked(self, token))); },
            py::arg("token"))
        .def(
            "score",
            [](const PyVocab & self, int64_t token) { return llama_vocab_get_score(self.get(), checked(self, token)); },
            py::arg("token"))
        .def(
            "attributes",
            [](const PyVocab & self, int64_t token) {
                const int bits = llama_vocab_get_attr(self.get(), checked(self, token));
                py::list  names;
                for (const auto & attribute : attributes) {
                    if ((bits & attribute.value) != 0) {
                        names.append(attribute.name);
                    }
                }
                return py::tuple(names);
            },
            py::arg("token"))
        .def(
            "is_eog",
            [](const PyVocab & self, int64_t token) { return llama_vocab_is_eog(self.get(), checked(self, token)); },
            py::arg("token"))
        .def(
            "is_control",
            [](const PyVocab & self, int64_t token) { return llama_vocab_is_control(self.get(), checked(self, token)); },
            py::arg("token"))
        .def(
            "piece",
            [](const PyVocab & self, int64_t token, int64_t lstrip, bool special_too) {
                const auto spaces = static_cast<int32_t>(smith::in_range("lstrip", lstrip, 0, INT32_MAX));
                return py::bytes(self.model->piece(checked(self, token), special_too, spaces));
            },
            py::arg("token"), py::kw_only(), py::arg("lstrip"), py::arg("special"))
        .def("pieces", &pieces, py::kw_only(), py::arg("special"));
}
