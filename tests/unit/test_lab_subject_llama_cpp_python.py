"""The subject llama-cpp-python, with a stand-in for the library or program."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from subject_world import N_VOCAB, NO_LIMIT, PER_TOKEN, PROMPT_TOKENS, Clock, load

from llamasmith.lab.worker.subject import PROMPT, NotSupported
from llamasmith.lab.worker.subjects.llama_cpp_python import LlamaCppPythonSubject
from llamasmith.lab.worker.tokens import random_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeLlama:
    """Takes `PER_TOKEN` for every token it reads; its greedy tokens count up."""

    def __init__(self, clock: Clock, path: str, options: dict[str, Any]) -> None:
        self.clock, self.path, self.options = clock, path, options
        self.memory: list[int] = []

    def n_vocab(self) -> int:
        return N_VOCAB

    def tokenize(self, text: bytes) -> list[int]:
        assert text.decode() == PROMPT
        return list(PROMPT_TOKENS)

    def reset(self) -> None:
        self.memory.clear()

    def eval(self, tokens: list[int]) -> None:
        self.memory += tokens
        self.clock.now += PER_TOKEN * len(tokens)

    def generate(self, tokens: list[int], *, temp: float, repeat_penalty: float) -> Iterator[int]:
        assert (temp, repeat_penalty, self.memory) == (0.0, 1.0, [])
        token = 10
        while True:
            self.eval(tokens)
            yield token
            tokens, token = [token], token + 1


def llama_cpp(clock: Clock, made: list[FakeLlama]) -> Any:
    def make(path: str, **options: Any) -> FakeLlama:
        made.append(FakeLlama(clock, path, options))
        return made[-1]

    return SimpleNamespace(Llama=make, __version__="1.2", GGML_TYPE_Q8_0=8, llama_print_system_info=lambda: b"AVX2 = 1")


@pytest.fixture
def lcp() -> tuple[LlamaCppPythonSubject, list[FakeLlama]]:
    clock, made = Clock(), list[FakeLlama]()
    return LlamaCppPythonSubject(llama_cpp(clock, made), clock), made


def test_llama_cpp_python_takes_settings(lcp: tuple[LlamaCppPythonSubject, list[FakeLlama]]) -> None:
    subject, made = lcp
    facts = load(subject, n_threads=3, n_ctx=256, flash_attn="on", type_k="q8_0")
    assert made[0].path == "folder/m.gguf"
    assert made[0].options == {
        "verbose": False,
        "n_threads": 3,
        "n_threads_batch": 3,
        "n_ctx": 256,
        "flash_attn": True,
        "type_k": 8,
    }
    assert (facts["library"], facts["version"], facts["flash_attn"]) == ("llama-cpp-python", "1.2", "on")
    assert load(subject, n_threads=3, n_threads_batch=5)["flash_attn"] == "off"
    assert made[1].options["n_threads_batch"] == 5


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"flash_attn": "auto"}, "flash_attn as on or off, not as 'auto'"), ({"type_v": "q9"}, "no ggml type 'q9'")],
)
def test_llama_cpp_python_refuses_values(
    lcp: tuple[LlamaCppPythonSubject, list[FakeLlama]], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(NotSupported, match=says):
        load(lcp[0], **settings)
    assert lcp[1] == []


def test_llama_cpp_python_times_the_work_alone(lcp: tuple[LlamaCppPythonSubject, list[FakeLlama]]) -> None:
    subject, made = lcp
    load(subject)
    assert subject.prompt(8, seed=1) == 8 * PER_TOKEN
    assert made[0].memory == random_tokens(8, 1, N_VOCAB)
    assert subject.prompt(8, seed=1) == 8 * PER_TOKEN
    assert made[0].memory == random_tokens(8, 1, N_VOCAB)
    assert subject.generate(5) == 5 * PER_TOKEN
    assert made[0].memory == [*PROMPT_TOKENS, 10, 11, 12, 13, 14]
    assert subject.first_token(8, seed=1) == 8 * PER_TOKEN
    assert subject.outputs(3, NO_LIMIT) == {"tokens": [10, 11, 12]}


def test_llama_cpp_python_ends_early(lcp: tuple[LlamaCppPythonSubject, list[FakeLlama]]) -> None:
    subject, _ = lcp
    load(subject)
    assert subject.generate_within(64, 0.6) == (3, 3 * PER_TOKEN)
    assert len(subject.outputs(64, 0.1)["tokens"]) == 1
    assert subject.sample("tg", 64, 0, 9, 0.6) == (3, [3 * PER_TOKEN])
    assert subject.sample("pp", 2, 0, 9, 0.6) == (4, [2 * PER_TOKEN] * 2)
