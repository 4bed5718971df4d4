#include "errors.hpp"
#include "json_schema.hpp"
#include "llama.h"
#include "pybind.hpp"

static py::tuple builtin_templates() {
    std::vector<const char *> names(static_cast<std::size_t>(llama_chat_builtin_templates(nullptr, 0)));
    llama_chat_builtin_templates(names.data(), names.size());
    return py::tuple(py::cast(names));
}

static py::str apply(const std::string & chat_template, const std::vector<std::pair<std::string, std::string>> & messages,
                     bool add_assistant) {
    std::vector<llama_chat_message> chat;
    std::size_t                     size = chat_template.size() + 1024;
    for (const auto & [role, content] : messages) {
        if ((role + content).find('\0') != std::string::npos) {
            throw smith::Error("InvalidOption", "A message holds a NUL character, at which llama.cpp would cut it.");
        }
        chat.push_back({ role.c_str(), content.c_str() });
        size += 2 * (role.size() + content.size());
    }
    if (size > INT32_MAX / 2) {
        throw smith::Error("InvalidOption", "The messages have " + std::to_string(size / 2) + " bytes, which is too much.");
    }
    std::string text(size, '\0');
    int32_t     n = -1;
    for (int attempt = 0; attempt < 2; attempt++) {
        n = llama_chat_apply_template(chat_template.c_str(), chat.data(), chat.size(), add_assistant, text.data(),
                                      static_cast<int32_t>(text.size()));
        if (n < 0) {
            throw smith::Error("InvalidOption", "llama.cpp does not know this chat template; it recognises those of "
                                                "chat_builtin_templates(), by name or by their text.");
        }
        if (n <= static_cast<int32_t>(text.size())) {
            break;
        }
        text.resize(static_cast<std::size_t>(n));
    }
    text.resize(static_cast<std::size_t>(n));
    return to_str(text);
}

void register_chat(py::module_ & m) {
    m.def("chat_builtin_templates", &builtin_templates, "Names of the chat templates that llama.cpp knows by itself.");
    m.def("chat_apply_template", &apply, py::arg("template"), py::arg("messages"), py::kw_only(), py::arg("add_assistant"),
          "The text of a chat, (role, content) by (role, content), in a template that llama.cpp knows, without jinja.");
    m.def("grammar_of_schema", &smith::grammar_of_schema, py::arg("schema"), "The grammar (GBNF) of the JSON that a schema allows.");
}
