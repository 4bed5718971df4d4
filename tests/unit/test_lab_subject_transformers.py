"""The subject transformers, with a stand-in for the library or program."""

from __future__ import annotations

import os
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from subject_world import N_VOCAB, NO_LIMIT, PER_TOKEN, PROMPT_TOKENS, Clock, load

from llamasmith.lab.worker.subjects.transformers import TransformersSubject
from llamasmith.lab.worker.tokens import random_tokens


class FakeModel:
    """Takes `PER_TOKEN` for every token; its greedy tokens count up."""

    dtype = "torch.float32"
    config = SimpleNamespace(_attn_implementation="sdpa")

    def __init__(self, clock: Clock) -> None:
        self.clock, self.calls = clock, list[dict[str, Any]]()

    def get_input_embeddings(self) -> Any:
        return SimpleNamespace(num_embeddings=N_VOCAB)

    def forward(self, input_ids: Any = None, logits_to_keep: int = 0) -> None: ...

    def __call__(self, **inputs: Any) -> None:
        self.calls.append(inputs)
        self.clock.now += PER_TOKEN * len(inputs["input_ids"][0])

    def generate(self, *, input_ids: Any, max_new_tokens: int, stopping_criteria: Any, **more: Any) -> Any:
        self.calls.append({"input_ids": input_ids, **more})
        tokens, new = list(input_ids[0]), len(input_ids[0])
        for index in range(max_new_tokens):
            self.clock.now += PER_TOKEN * new
            tokens, new = [*tokens, 10 + index], 1
            if any(all(stop([tokens], None)) for stop in stopping_criteria):
                break
        return [tokens]


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch) -> tuple[TransformersSubject, FakeModel, dict[str, Any]]:
    clock, seen = Clock(), dict[str, Any]()
    model = FakeModel(clock)
    for name in ("HF_HUB_OFFLINE", "TQDM_DISABLE"):
        monkeypatch.setenv(name, "")
    torch = SimpleNamespace(
        __version__="2.0",
        float32="f32",
        bool="bool",
        set_num_threads=lambda n: seen.update(n_threads=n),
        get_num_threads=lambda: seen.get("n_threads", 1),
        tensor=lambda rows: rows,
        ones_like=lambda rows: [[1] * len(row) for row in rows],
        full=lambda shape, value, dtype: [value] * shape[0],
        inference_mode=nullcontext,
    )

    def load_model(folder: str, **more: Any) -> FakeModel:
        seen.update(folder=folder, offline=os.environ["HF_HUB_OFFLINE"], **more)
        return model

    def load_tokenizer(folder: str, *, gguf_file: str) -> Any:
        assert (folder, gguf_file) == ("folder", "m.gguf")
        return lambda text: SimpleNamespace(input_ids=PROMPT_TOKENS)

    library = SimpleNamespace(
        __version__="5.0",
        logging=SimpleNamespace(set_verbosity_error=lambda: None),
        AutoModelForCausalLM=SimpleNamespace(from_pretrained=load_model),
        AutoTokenizer=SimpleNamespace(from_pretrained=load_tokenizer),
    )
    packages = {"torch": torch, "transformers": library, "gguf": None, "accelerate": None}
    return TransformersSubject(packages.__getitem__, clock), model, seen


def test_transformers_loads_the_file(hf: tuple[TransformersSubject, FakeModel, dict[str, Any]]) -> None:
    subject, _, seen = hf
    facts = load(subject, n_threads=3)
    wanted = {"folder": "folder", "gguf_file": "m.gguf", "dtype": "f32", "n_threads": 3, "offline": "1"}
    assert seen == wanted
    assert facts == {
        "library": "transformers",
        "version": "5.0",
        "torch": "2.0",
        "dtype": "float32",
        "attention": "sdpa",
        "n_threads": 3,
        "n_vocab": N_VOCAB,
    }


def test_transformers_times_the_work_alone(hf: tuple[TransformersSubject, FakeModel, dict[str, Any]]) -> None:
    subject, model, _ = hf
    load(subject)
    assert subject.prompt(8, seed=1) == 8 * PER_TOKEN
    assert model.calls[0] == {"input_ids": [random_tokens(8, 1, N_VOCAB)], "use_cache": True, "logits_to_keep": 1}
    assert subject.generate(5) == 5 * PER_TOKEN
    assert model.calls[1]["input_ids"] == [PROMPT_TOKENS]
    assert (model.calls[1]["min_new_tokens"], model.calls[1]["do_sample"]) == (6, False)
    assert subject.first_token(8, seed=1) == 8 * PER_TOKEN
    assert subject.outputs(3, NO_LIMIT) == {"tokens": [10, 11, 12]}


def test_transformers_ends_early(hf: tuple[TransformersSubject, FakeModel, dict[str, Any]]) -> None:
    subject, _, _ = hf
    load(subject)
    assert subject.generate_within(64, 0.6) == (3, 3 * PER_TOKEN)
    assert subject.generate_within(64, 0.0) == (1, PER_TOKEN)
    assert subject.outputs(64, 0.6)["tokens"] == [10, 11, 12, 13]
