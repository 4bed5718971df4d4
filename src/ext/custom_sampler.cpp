#include "custom_sampler.hpp"

#include <utility>

namespace smith {

namespace {

struct Hook {
    std::shared_ptr<CustomSampler>      custom;
    std::shared_ptr<std::exception_ptr> failure;

    template <typename Work> void guarded(Work && work) const {
        if (*failure) {
            return;
        }
        try {
            work();
        } catch (...) {
            *failure = std::current_exception();  // upstream's frames lie between here and the caller
        }
    }
};

Hook & hook(const llama_sampler * sampler) {
    return *static_cast<Hook *>(sampler->ctx);
}

llama_sampler_i custom_interface() {
    llama_sampler_i i = {};
    i.name            = [](const llama_sampler *) { return "custom"; };
    i.accept          = [](llama_sampler * s, llama_token token) { hook(s).guarded([&] { hook(s).custom->accept(token); }); };
    i.apply           = [](llama_sampler * s, llama_token_data_array * all) {
        hook(s).guarded([&] { hook(s).custom->apply(*all); });
    };
    i.reset = [](llama_sampler * s) { hook(s).guarded([&] { hook(s).custom->reset(); }); };
    i.free  = [](llama_sampler * s) { delete &hook(s); };
    return i;  // no clone: SamplerChain::clone() does it, for it needs the new chain's failure
}

llama_sampler_i * custom() {
    static llama_sampler_i the_interface = custom_interface();
    return &the_interface;
}

}  // namespace

llama_sampler * make_custom(std::shared_ptr<CustomSampler> sampler, std::shared_ptr<std::exception_ptr> failure) {
    return llama_sampler_init(custom(), new Hook{ std::move(sampler), std::move(failure) });
}

}  // namespace smith
