"""Choosing a token from the logits of a usual vocabulary.

The choice cannot be called alone, so this generates with a model that computes next to nothing: what is timed is tokens
with their evaluation. The figure is what a choice costs beyond that of the most likely token (a look at each logit).
"""

from __future__ import annotations

from typing import Any

import pytest

from llamasmith import Session

from .figures import alternate, keep, rounds_for

N_VOCAB = 49152  # as SmolLM2 has it
N_TOKENS = 32

GREEDY: dict[str, Any] = {"temperature": 0.0}
CHOICES: dict[str, dict[str, Any]] = {
    "greedy": GREEDY,
    "top_k top_p": {"temperature": 0.8, "top_k": 40, "top_p": 0.95},
    "top_p": {"temperature": 0.8, "top_k": 0, "top_p": 0.95},
    "all": {"temperature": 0.8, "top_k": 0, "top_p": 1.0},
}


@pytest.mark.benchmark(group=f"sample: {N_TOKENS} tokens of {N_VOCAB}")
@pytest.mark.parametrize("choice", CHOICES)
def test_sample(benchmark: Any, narrow: Any, choice: str) -> None:
    # One thread: what other threads do while one chooses is no part of the choice.
    with Session(narrow(1, N_VOCAB), n_ctx=64, n_threads=1) as session:

        def generate(options: dict[str, Any]) -> Any:
            return session.generate([1], max_tokens=N_TOKENS + 1, seed=1, ignore_eos=True, **options)

        def nanoseconds(options: dict[str, Any]) -> float:
            return generate(options).timings.generate_seconds / N_TOKENS * 1e9

        chosen = CHOICES[choice]
        tokens = generate(chosen).tokens
        assert generate(chosen).tokens == tokens
        # The one most likely, drawn by the same code as any other choice, is what the greedy one finds.
        assert generate(chosen | {"top_k": 1}).tokens == generate(GREEDY).tokens

        rounds = rounds_for(benchmark, lambda: generate(chosen), most=15)
        if chosen is not GREEDY:
            found = alternate({"chosen": lambda: nanoseconds(chosen), "greedy": lambda: nanoseconds(GREEDY)}, rounds)
            beyond = [one - other for one, other in zip(found["chosen"], found["greedy"], strict=True)]
            keep(benchmark, "beyond greedy", "ns/token", beyond)
        assert benchmark.pedantic(generate, args=(chosen,), rounds=rounds, warmup_rounds=1).tokens == tokens
