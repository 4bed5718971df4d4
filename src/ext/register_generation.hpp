// Generations and their options, as Python gives and gets them.
#pragma once

#include <string>
#include <utility>

#include "generation.hpp"
#include "pybind.hpp"
#include "register_options.hpp"

namespace smith {

inline GenerationOptions generation_options(const py::dict & given) {
    GenerationOptions o;
    Keywords          in(given);
    in.read("max_tokens", o.max_tokens);
    in.read("temperature", o.sampler.temperature);
    in.read("top_k", o.sampler.top_k);
    in.read("top_p", o.sampler.top_p);
    in.read("seed", o.sampler.seed);
    in.read("stop", o.stop);
    in.read("ignore_eos", o.ignore_eos);
    in.read("sampler", o.chain);
    in.finish("A generation");
    return o;
}

inline py::dict generation_state(const Generation & g) {
    py::dict out;
    out["tokens"]           = py::tuple(py::cast(g.tokens));
    out["stop_reason"]      = g.stop_reason;
    out["prompt_tokens"]    = g.timings.prompt_tokens;
    out["reused_tokens"]    = g.timings.reused_tokens;
    out["prompt_seconds"]   = g.timings.prompt_seconds;
    out["generated_tokens"] = g.timings.generated_tokens;
    out["generate_seconds"] = g.timings.generate_seconds;
    out["drafted_tokens"]   = g.timings.drafted_tokens;
    out["accepted_tokens"]  = g.timings.accepted_tokens;
    out["shifted_tokens"]   = g.timings.shifted_tokens;
    return out;
}

// The text that has become certain since it was asked for last, and the reason to stop if there is one by now.
inline py::tuple generation_news(Generation & g) {
    return py::make_tuple(to_str(g.stream.take(g.ended())), g.stop_reason);
}

}  // namespace smith
