#include "grammar_check.hpp"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <new>
#include <vector>

#include "abort_guard.hpp"
#include "errors.hpp"
#include "llama-grammar.h"

namespace smith {

namespace {

constexpr std::size_t max_grammar  = 1 << 20;  // bytes
constexpr int         max_nesting  = 200;      // parentheses; the parser recurses
constexpr std::size_t max_rules    = 10000;    // of the text; upstream looks for left recursion with a stack as deep
constexpr uint64_t    max_elements = 1 << 22;  // that repetitions make, of 8 bytes each
constexpr uint64_t    max_visits   = 1 << 22;  // of rules, while upstream looks for left recursion
constexpr std::size_t max_depth    = 10000;    // of its stack then

[[noreturn]] void refuse(const std::string & why) {
    throw Error("InvalidOption", "The grammar cannot be used: " + why);
}

// The text without knowledge of rules: how deep parentheses go, and how much repetitions copy.
class Scan {
  public:
    explicit Scan(const std::string & text) : text_(text) {}

    void check() {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == '#') {
                comment();
            } else if (c == '"') {
                enclosed('"');
            } else if (c == '[') {
                enclosed(']');
            } else if (c == '<') {
                at_ = std::min(text_.find('>', at_), text_.size() - 1) + 1;
                last_ = 1;
            } else if (c == '(' && ++depth_ > max_nesting) {
                refuse("it is too large: at most " + std::to_string(max_nesting) + " parentheses may lie within each other.");
            } else if (c == '{') {
                repetition();
            } else {
                depth_ -= c == ')' && depth_ > 0 ? 1 : 0;
                rules_ += text_.compare(at_, 3, "::=") == 0 ? 1 : 0;
                if (c == '*' || c == '+' || c == '?') {
                    repeat(1);
                } else if (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
                    last_ = 1;  // a rule's name, or a group
                }
                at_++;
            }
            if (rules_ > max_rules) {
                refuse("it is too large: at most " + std::to_string(max_rules) + " rules are allowed.");
            }
            if (elements_ > max_elements) {
                refuse("it is too large: its repetitions make more than " + std::to_string(max_elements) +
                       " elements of it. Repeat shorter parts, or less often.");
            }
        }
    }

  private:
    // A text or a class of characters, whose length is what a repetition copies.
    void enclosed(char end) {
        const std::size_t begin = at_++;
        while (at_ < text_.size() && text_[at_] != end) {
            at_ += text_[at_] == '\\' ? 2 : 1;
        }
        last_ = std::max<uint64_t>(std::min(at_, text_.size()) - begin, 1);
        at_ += 1;
    }

    void repetition() {
        std::vector<uint64_t> numbers;
        for (at_++; at_ < text_.size() && text_[at_] != '}';) {
            if (text_[at_] == '#') {
                comment();
            } else if (text_[at_] >= '0' && text_[at_] <= '9') {
                char * end = nullptr;
                numbers.push_back(std::strtoull(text_.c_str() + at_, &end, 10));
                at_ = static_cast<std::size_t>(end - text_.c_str());
            } else {
                at_++;
            }
        }
        at_ += 1;
        if (numbers.size() == 2 && numbers[1] < numbers[0]) {  // upstream counts down from 0 then
            refuse("it repeats something at least " + std::to_string(numbers[0]) + " and at most " +
                   std::to_string(numbers[1]) + " times. Put the smaller number first.");
        }
        const uint64_t times = numbers.empty() ? 1 : *std::max_element(numbers.begin(), numbers.end());
        repeat(std::min<uint64_t>(std::max<uint64_t>(times, 1), 2000));  // upstream's own limit
    }

    void comment() { at_ = std::min(text_.find_first_of("\r\n", at_), text_.size()); }

    // Each copy may become a rule of its own. What comes next may repeat all copies.
    void repeat(uint64_t times) {
        elements_ += times * (last_ + 8);
        last_ = times * last_ + 1;
    }

    const std::string & text_;
    std::size_t         at_       = 0;
    int                 depth_    = 0;
    std::size_t         rules_    = 0;
    uint64_t            elements_ = 0;
    uint64_t            last_     = 1;  // elements of what a repetition would repeat
};

// As llama_grammar_parser::parse() does it, which prints to stderr instead of telling why.
void parse(llama_grammar_parser & parser, const std::string & grammar) {
    const char * pos = grammar.c_str();
    const auto   space = [&] {
        while (*pos == ' ' || *pos == '\t' || *pos == '\r' || *pos == '\n' || *pos == '#') {
            pos += *pos == '#' ? std::min(grammar.find_first_of("\r\n", static_cast<std::size_t>(pos - grammar.c_str())),
                                          grammar.size()) - static_cast<std::size_t>(pos - grammar.c_str())
                               : 1;
        }
    };
    try {
        const AbortGuard guard;
        for (space(); *pos != '\0'; space()) {
            pos = parser.parse_rule(pos);
        }
    } catch (const std::bad_alloc &) {
        refuse("it takes more memory than there is.");
    } catch (const std::exception & error) {
        const std::string why = error.what();
        refuse(why.size() > 200 ? why.substr(0, 200) + "..." : why);
    }
}

// The rules after parsing: what a rule may begin with, and whether it ends.
class Rules {
  public:
    explicit Rules(const llama_grammar_parser & parser) : parser_(parser), rules_(parser.rules) {}

    void check(const std::string & root) {
        const auto start = parser_.symbol_ids.find(root);
        if (start == parser_.symbol_ids.end() || start->second >= rules_.size() || rules_[start->second].empty()) {
            refuse("it has no rule '" + root + "' to begin with.");
        }
        for (std::size_t i = 0; i < rules_.size(); i++) {
            if (rules_[i].empty()) {
                refuse("its rule '" + name(i) + "' is used, but not defined.");
            }
            for (const llama_grammar_element & element : rules_[i]) {
                if (element.type == LLAMA_GRETYPE_RULE_REF && (element.value >= rules_.size() || rules_[element.value].empty())) {
                    refuse("its rule '" + name(element.value) + "' is used, but not defined.");
                }
            }
        }
        find_nullable();
        find_recursion();
    }

  private:
    std::string name(std::size_t id) const {
        for (const auto & [text, symbol] : parser_.symbol_ids) {
            if (symbol == id) {
                return text;
            }
        }
        return std::to_string(id);
    }

    // Calls `work` with each alternative's elements, and goes on while it returns false.
    template <typename Work> bool any_alternative(std::size_t id, Work && work) const {
        const llama_grammar_element * begin = rules_[id].data();
        for (const llama_grammar_element * end = begin;; end++) {
            if (end->type == LLAMA_GRETYPE_ALT || end->type == LLAMA_GRETYPE_END) {
                if (work(begin, end)) {
                    return true;
                }
                if (end->type == LLAMA_GRETYPE_END) {
                    return false;
                }
                begin = end + 1;
            }
        }
    }

    // Upstream sees only rules with an empty alternative of their own, not such as consist of rules that may be empty.
    void find_nullable() {
        nullable_.assign(rules_.size(), 0);
        std::vector<std::vector<std::size_t>> users(rules_.size());
        std::vector<std::size_t>              todo;
        for (std::size_t i = 0; i < rules_.size(); i++) {
            for (const llama_grammar_element & element : rules_[i]) {
                if (element.type == LLAMA_GRETYPE_RULE_REF) {
                    users[element.value].push_back(i);
                }
            }
            todo.push_back(i);
        }
        while (!todo.empty()) {
            const std::size_t id = todo.back();
            todo.pop_back();
            const bool empty = nullable_[id] == 0 && any_alternative(id, [&](const auto * at, const auto * end) {
                return std::all_of(at, end, [&](const llama_grammar_element & element) {
                    return element.type == LLAMA_GRETYPE_RULE_REF && nullable_[element.value] != 0;
                });
            });
            if (empty) {
                nullable_[id] = 1;
                todo.insert(todo.end(), users[id].begin(), users[id].end());
            }
        }
    }

    // Rules with which an alternative of this one may begin.
    std::vector<std::size_t> beginnings(std::size_t id) const {
        std::vector<std::size_t> out;
        any_alternative(id, [&](const auto * at, const auto * end) {
            for (; at != end && at->type == LLAMA_GRETYPE_RULE_REF; at++) {
                out.push_back(at->value);
                if (nullable_[at->value] == 0) {
                    break;
                }
            }
            return false;
        });
        return out;
    }

    // Depth first, with a stack of its own. `visits` counts what upstream's recursion does, which forgets where it has been.
    void find_recursion() {
        struct Frame {
            std::size_t              id;
            std::vector<std::size_t> next;
        };
        enum State : char { unseen, open, done };
        std::vector<char>        state(rules_.size(), unseen);
        std::vector<uint64_t>    visits(rules_.size(), 1);
        std::vector<std::size_t> depth(rules_.size(), 1);
        for (std::size_t i = 0; i < rules_.size(); i++) {
            if (state[i] != unseen) {
                continue;
            }
            std::vector<Frame> stack;
            state[i] = open;
            stack.push_back({ i, beginnings(i) });
            while (!stack.empty()) {
                Frame & top = stack.back();
                if (top.next.empty()) {
                    state[top.id] = done;
                    for (const std::size_t id : beginnings(top.id)) {
                        visits[top.id] = std::min(visits[top.id] + visits[id], max_visits + 1);
                        depth[top.id]  = std::max(depth[top.id], depth[id] + 1);
                    }
                    if (visits[top.id] > max_visits || depth[top.id] > max_depth) {
                        refuse("its rules refer to each other too often, from '" + name(top.id) +
                               "' on. Let fewer alternatives begin with rules.");
                    }
                    stack.pop_back();
                    continue;
                }
                const std::size_t id = top.next.back();
                top.next.pop_back();
                if (state[id] == open) {
                    refuse("its rule '" + name(id) + "' may begin with itself (left recursion), so that it would never be "
                           "left. Put what has to come first before it.");
                }
                if (state[id] == unseen) {
                    state[id] = open;
                    stack.push_back({ id, beginnings(id) });
                }
            }
        }
    }

    const llama_grammar_parser & parser_;
    const llama_grammar_rules &  rules_;
    std::vector<char>            nullable_;
};

}  // namespace

void check_grammar(const llama_vocab * vocab, const std::string & grammar, const std::string & root) {
    if (grammar.empty() || grammar.size() > max_grammar || grammar.find('\0') != std::string::npos ||
        root.find('\0') != std::string::npos) {
        throw Error("InvalidOption", "The grammar has " + std::to_string(grammar.size()) + " bytes. Allowed: 1 to " +
                                         std::to_string(max_grammar) + ", without NUL.");
    }
    Scan(grammar).check();
    llama_grammar_parser parser(vocab);
    parse(parser, grammar);
    Rules(parser).check(root);
}

}  // namespace smith
