// Samplers in the user's order: llama.cpp's own and such as call back.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "custom_sampler.hpp"
#include "llama.h"
#include "model.hpp"

namespace smith {

class SamplerChain {
  public:
    explicit SamplerChain(std::shared_ptr<Model> model);
    SamplerChain(const SamplerChain &)             = delete;
    SamplerChain & operator=(const SamplerChain &) = delete;

    // Each checks what upstream would end the process for, or silently misunderstand. Throw InvalidOption.
    void add_greedy();
    void add_dist(uint32_t seed);
    void add_top_k(int64_t k);
    void add_top_p(float p, int64_t min_keep);
    void add_min_p(float p, int64_t min_keep);
    void add_typical(float p, int64_t min_keep);
    void add_temp(float t);
    void add_temp_ext(float t, float delta, float exponent);
    void add_xtc(float p, float t, int64_t min_keep, uint32_t seed);
    void add_top_n_sigma(float n);
    void add_mirostat(uint32_t seed, float tau, float eta, int64_t m);
    void add_mirostat_v2(uint32_t seed, float tau, float eta);
    void add_grammar(const std::string & grammar, const std::string & root);
    void add_grammar_lazy(const std::string & grammar, const std::string & root, const std::vector<std::string> & patterns,
                          const std::vector<llama_token> & tokens);
    void add_penalties(int64_t last_n, float repeat, float freq, float present);
    void add_dry(float multiplier, float base, int64_t allowed_length, int64_t last_n,
                 const std::vector<std::string> & breakers);
    void add_adaptive_p(float target, float decay, uint32_t seed);
    void add_logit_bias(const std::vector<std::pair<int64_t, float>> & bias);
    void add_infill();
    void add_custom(std::shared_ptr<CustomSampler> custom);

    // Chooses a token from n_vocab logits, and accepts it. Throws DecodeFailed if no token is left to choose.
    llama_token sample(const float * logits, const Model & model);
    // Applies all samplers to candidates of one's own; nothing is accepted.
    void apply(std::vector<llama_token_data> & candidates, int64_t & selected);
    void accept(int64_t token);  // throws InvalidOption for one that a grammar does not allow here
    void reset();
    std::shared_ptr<SamplerChain> clone() const;
    void                          remove(int64_t index);

    const std::vector<std::string> & names() const { return names_; }
    uint32_t                         seed() const { return llama_sampler_get_seed(chain_.get()); }
    llama_perf_sampler_data          perf() const { return llama_perf_sampler(chain_.get()); }
    void                             perf_reset() { llama_perf_sampler_reset(chain_.get()); }
    const Model &                    model() const { return *model_; }

    // The calling thread's turn: a chain has a state. Throws SessionBusy.
    class Use {
      public:
        explicit Use(const SamplerChain & chain);
        ~Use() { chain_.used_.store(false); }
        Use(const Use &)             = delete;
        Use & operator=(const Use &) = delete;

      private:
        const SamplerChain & chain_;
    };

  private:
    struct Free {
        void operator()(llama_sampler * sampler) const { llama_sampler_free(sampler); }
    };

    void add(const char * name, llama_sampler * sampler);
    void apply_all(llama_token_data_array & array);
    template <typename Which> void apply_each(llama_token_data_array & array, Which && which);
    llama_token_data_array candidates(const float * logits);
    llama_token            try_first(const float * logits);
    void accept_checked(llama_token token);
    void check_grammar(const std::string & grammar, const std::string & root) const;
    bool allows_all(llama_sampler * grammar) const;
    void check_trigger_text(llama_token token);

    std::shared_ptr<Model>                      model_;  // samplers look at its vocabulary
    std::shared_ptr<std::exception_ptr>         failure_;  // of a custom sampler
    std::unique_ptr<llama_sampler, Free>        chain_;
    std::vector<std::string>                    names_;
    std::vector<std::shared_ptr<CustomSampler>> customs_;
    std::vector<llama_token_data>               candidates_;  // kept: half a megabyte for a usual vocabulary
    bool                                        broken_ = false;  // a grammar's state was lost half way
    std::size_t                                 trigger_text_ = 0;  // bytes accepted since the start
    bool                                        triggered_    = false;
    mutable std::atomic<bool>                   used_{ false };
};

}  // namespace smith
