#include "shape.hpp"

#include <cstdint>

#include "errors.hpp"

namespace smith {

namespace {

// LLAMA_MAX_LAYERS and LLAMA_MAX_EXPERTS of the pin.
constexpr uint32_t max_layers  = 512;
constexpr uint32_t max_experts = 1024;

class Shape {
  public:
    Shape(const std::string & path, const GgufFacts & facts, const std::vector<std::pair<std::string, MetaValue>> & overrides)
        : path_(path), facts_(facts), overrides_(overrides), arch_(text("general.architecture")) {}

    std::string text(const std::string & key) const {
        for (const auto & [name, value] : overrides_) {
            if (name == key && std::holds_alternative<std::string>(value)) {
                return std::get<std::string>(value);
            }
        }
        const auto found = facts_.texts.find(key);
        return found == facts_.texts.end() ? "" : found->second;
    }

    std::string key(const char * name) const { return arch_ + "." + name; }

    // As llama.cpp has it: 32 bits without a sign; 0 where there is none.
    uint32_t number(const char * name) const {
        for (const auto & [over, value] : overrides_) {
            if (over == key(name) && std::holds_alternative<int64_t>(value)) {
                return static_cast<uint32_t>(std::get<int64_t>(value));
            }
        }
        const auto found = facts_.numbers.find(key(name));
        return found == facts_.numbers.end() ? 0 : static_cast<uint32_t>(found->second);
    }

    bool has(const char * name) const { return facts_.numbers.count(key(name)) != 0; }

    const std::string & arch() const { return arch_; }

    // The number for one layer, of which there is one for each, or one for all.
    uint32_t number(const char * name, std::size_t layer) const {
        const auto list = facts_.lists.find(key(name));
        return list == facts_.lists.end() || layer >= list->second.size() ? number(name)
                                                                         : static_cast<uint32_t>(list->second[layer]);
    }

    void need(bool sound, const char * name, const std::string & allowed) const {
        if (!sound) {
            throw Error("InvalidModel", path_ + " has " + key(name) + " = " + std::to_string(number(name)) + ". Allowed: " +
                                            allowed + ". The file, or what kv_overrides says, is not sound.");
        }
    }

    // What keeps a division by the size of a vector from failing.
    void need_epsilons() const {
        const auto need = [&](const std::string & name, double value) {
            const std::string end = "epsilon";
            if (name.size() > end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0 &&
                !(value >= 0 && value < 1e30)) {
                throw Error("InvalidModel", path_ + " has " + name + " = " + std::to_string(value) +
                                                ". Allowed: 0 and more. The file, or what kv_overrides says, is not sound.");
            }
        };
        for (const auto & [name, value] : facts_.reals) {
            need(name, value);
        }
        for (const auto & [name, value] : overrides_) {
            if (std::holds_alternative<double>(value)) {
                need(name, std::get<double>(value));
            }
        }
    }

  private:
    const std::string &                                    path_;
    const GgufFacts &                                      facts_;
    const std::vector<std::pair<std::string, MetaValue>> & overrides_;
    std::string                                            arch_;
};

// What upstream divides by without a look, for these architectures. Others may say 0: models that it has saved say all.
void check_divisors(const Shape & shape, uint32_t layers, uint32_t experts) {
    const std::pair<const char *, std::vector<const char *>> divisors[] = {
        { "full_attention_interval", { "minimax-01", "qwen35", "qwen35moe", "qwen3next" } },
        { "attention.output_group_count", { "deepseek4", "dflash" } },
        { "ssm.group_count", { "falcon-h1", "granitehybrid", "mamba2", "nemotron_h", "nemotron_h_moe", "qwen3next", "qwen35",
                               "qwen35moe", "qwen4exp" } },
    };
    for (const auto & [name, archs] : divisors) {
        for (const char * arch : archs) {
            shape.need(shape.arch() != arch || !shape.has(name) || shape.number(name) > 0, name, "1 or more");
        }
    }
    for (const char * arch : { "glm4moe", "llada-moe", "grovemoe", "qwen35moe" }) {
        shape.need(shape.arch() != arch || experts > 0, "expert_count", "1 or more");
    }
    for (std::size_t i = 0; shape.arch().compare(0, 10, "nemotron_h") == 0 && i < layers && experts > 0; i++) {
        shape.need(shape.number("feed_forward_length", i) == 0 || shape.number("expert_feed_forward_length", i) > 0 ||
                       shape.number("expert_used_count", i) > 0,
                   "expert_used_count", "1 or more for each layer of experts");
    }
}

}  // namespace

// The rules are those of llama_model_base::load_hparams().
void check_shape(const std::string & path, const GgufFacts & facts,
                 const std::vector<std::pair<std::string, MetaValue>> & overrides) {
    const Shape    shape(path, facts, overrides);
    if (!shape.has("block_count")) {
        return;  // llama.cpp says so itself
    }
    const uint32_t layers  = shape.number("block_count");
    uint32_t       experts = shape.number("expert_count");
    uint32_t       used    = shape.number("expert_used_count");
    const uint32_t groups  = shape.number("expert_group_count");
    const uint32_t chosen  = shape.number("expert_group_used_count");
    if (shape.text("general.architecture").compare(0, 7, "hunyuan") == 0 && experts <= 1) {
        experts = used = 0;  // which is how such models say that they have none
    }
    shape.need(layers >= 1 && layers <= max_layers, "block_count", "1 to " + std::to_string(max_layers));
    for (const char * part : { "nextn_predict_layers", "posnet.block_count", "convnext.block_count" }) {
        shape.need(shape.number(part) <= layers, part, "at most block_count, " + std::to_string(layers));
    }
    shape.need(experts <= max_experts, "expert_count", "at most " + std::to_string(max_experts));
    shape.need(used <= experts && (used > 0 || experts == 0), "expert_used_count",
               "1 to expert_count, " + std::to_string(experts) + ", or none where that is 0");
    shape.need(experts == 0 ? groups == 0 : groups < experts && (groups < 2 || experts % groups == 0), "expert_group_count",
               "less than expert_count, " + std::to_string(experts) + ", which it divides");
    shape.need(groups < 2 || (chosen > 0 && chosen < groups), "expert_group_used_count", "1 to less than expert_group_count");
    check_divisors(shape, layers, experts);
    shape.need_epsilons();
    const std::string scaling = shape.text(shape.key("rope.scaling.type"));
    if (!scaling.empty() && scaling != "none" && scaling != "linear" && scaling != "yarn" && scaling != "longrope") {
        throw Error("InvalidModel", path + " has " + shape.key("rope.scaling.type") + " = '" + scaling +
                                        "'. Allowed: none, linear, yarn, longrope.");
    }
}

// Positions are turned by pairs of numbers, within a head.
void check_rope(const std::string & path, const GgufFacts & facts,
                const std::vector<std::pair<std::string, MetaValue>> & overrides, llama_rope_type rope_type) {
    if (rope_type == LLAMA_ROPE_TYPE_NONE) {
        return;
    }
    const Shape    shape(path, facts, overrides);
    const uint32_t heads = shape.number("attention.head_count", 0);
    const uint32_t given = shape.number("attention.key_length");
    const uint32_t head  = given > 0 ? given : heads > 0 ? shape.number("embedding_length") / heads : 0;  // 0: not told
    shape.need(shape.has("rope.dimension_count") || head % 2 == 0, "attention.key_length", "an even number");
    for (const char * name : { "rope.dimension_count", "rope.dimension_count_swa" }) {
        shape.need(shape.number(name) % 2 == 0, name, "an even number");
    }
    shape.need(head == 0 || shape.number("rope.dimension_count") <= head, "rope.dimension_count",
               "at most the numbers of a head, " + std::to_string(head));
    if (rope_type != LLAMA_ROPE_TYPE_MROPE && rope_type != LLAMA_ROPE_TYPE_IMROPE && rope_type != LLAMA_ROPE_TYPE_VISION) {
        return;
    }
    const char * name = "rope.dimension_sections";
    bool         any  = false;
    for (std::size_t i = 0; i < 3; i++) {  // of a list, or one number for all
        any = any || (shape.number(name, i) > 0 && shape.number(name, i) <= INT32_MAX);
    }
    if (!any) {
        throw Error("InvalidModel", path + " has positions of several dimensions, but does not say how many each has ('" +
                                        shape.key(name) + "'). Convert it anew.");
    }
}

}  // namespace smith
