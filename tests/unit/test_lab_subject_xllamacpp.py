"""The subject xllamacpp, with a stand-in for the library or program."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from subject_world import N_VOCAB, NO_LIMIT, PER_TOKEN, PROMPT_TOKENS, load

from llamasmith.lab.worker.subject import NotSupported
from llamasmith.lab.worker.subjects.xllamacpp import XllamacppSubject
from llamasmith.lab.worker.tokens import random_tokens

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeServer:
    """Works for `PER_TOKEN` on each token; `n_ctx` ends the generation."""

    listening_address = "http://here"

    def __init__(self, params: Any) -> None:
        self.params, self.requests = params, list[dict[str, Any]]()
        self.error: dict[str, str] | None = None

    def handle_completions(self, request: dict[str, Any], callback: Callable[[Any], Any] | None = None) -> Any:
        self.requests.append(request)
        if self.error:
            refusal = {"error": self.error}
            return refusal if callback is None else callback(refusal) and None
        prompt = request["prompt"] if isinstance(request["prompt"], list) else PROMPT_TOKENS
        n = min(request["max_tokens"], self.params.n_ctx - len(prompt))
        pieces = [self.piece(prompt, done, request) for done in range(1, n + 1)]
        if callback is None:
            return pieces[-1]
        for piece in [*pieces, {**pieces[-1], "__verbose": {"tokens": []}}]:  # the last one repeats the timings
            if callback(piece):
                return None
        return None

    def piece(self, prompt: list[int], done: int, request: dict[str, Any]) -> dict[str, Any]:
        timings = {"prompt_ms": len(prompt) * PER_TOKEN * 1e3, "predicted_n": done}
        found = {"choices": [], "timings": {**timings, "predicted_ms": (done - 1) * PER_TOKEN * 1e3}}
        return found | ({"__verbose": {"tokens": [9 + done]}} if request.get("return_tokens") else {})


def xllamacpp(made: list[FakeServer]) -> Any:
    def serve(params: Any) -> FakeServer:
        made.append(FakeServer(params))
        return made[-1]

    def params() -> Any:
        threads = SimpleNamespace(n_threads=-1), SimpleNamespace(n_threads=-1)
        return SimpleNamespace(model=SimpleNamespace(path=""), cpuparams=threads[0], cpuparams_batch=threads[1])

    return SimpleNamespace(
        CommonParams=params,
        Server=serve,
        __version__="1.2",
        get_system_info=lambda: "AVX2 = 1",
        llama_flash_attn_type=SimpleNamespace(LLAMA_FLASH_ATTN_TYPE_AUTO="auto"),
        ggml_type=SimpleNamespace(GGML_TYPE_Q8_0="eight"),
    )


@pytest.fixture
def xl() -> tuple[XllamacppSubject, list[FakeServer]]:
    made = list[FakeServer]()

    def fetch(address: str) -> Any:
        assert address == "http://here/v1/models"
        return {"data": [{"meta": {"n_vocab": N_VOCAB}}]}

    return XllamacppSubject(xllamacpp(made), fetch), made


def test_xllamacpp_takes_settings(xl: tuple[XllamacppSubject, list[FakeServer]]) -> None:
    subject, made = xl
    options = {"n_threads": 3, "n_ctx": 256, "flash_attn": "auto", "type_v": "q8_0"}
    facts = subject.load(
        engine="",
        model="folder/m.gguf",
        model_options={"use_extra_bufts": False},
        session_options=options,
        sessions=1,
    )
    params = made[0].params
    assert (params.model.path, params.n_ctx, params.n_parallel) == ("folder/m.gguf", 256, 1)
    assert (params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (3, 3)
    assert (params.flash_attn_type, params.cache_type_v, params.no_extra_bufts) == ("auto", "eight", True)
    assert not hasattr(params, "n_batch")  # what is not asked for stays the library's own
    assert (facts["library"], facts["n_vocab"]) == ("xllamacpp", N_VOCAB)
    with pytest.raises(NotSupported, match="no ggml type 'q9'"):
        load(subject, type_k="q9")


def test_xllamacpp_takes_the_times_of_the_server(xl: tuple[XllamacppSubject, list[FakeServer]]) -> None:
    subject, made = xl
    load(subject, n_ctx=32)
    assert subject.prompt(8, seed=1) == 8 * PER_TOKEN
    assert subject.first_token(8, seed=1) == 8 * PER_TOKEN
    assert made[0].requests[0]["prompt"] == random_tokens(8, 1, N_VOCAB)
    assert subject.generate(5) == 5 * PER_TOKEN
    assert subject.outputs(3, NO_LIMIT) == {"tokens": [10, 11, 12]}
    assert {request["cache_prompt"] for request in made[0].requests} == {False}
    assert {request["ignore_eos"] for request in made[0].requests} == {True}


def test_xllamacpp_ends_early(xl: tuple[XllamacppSubject, list[FakeServer]]) -> None:
    subject, made = xl
    load(subject, n_ctx=256)
    assert subject.generate_within(64, 0.6) == (3, 3 * PER_TOKEN)
    assert subject.generate_within(64, 0.0) == (1, PER_TOKEN)
    assert len(subject.outputs(64, 0.6)["tokens"]) == 4
    assert all(request["stream"] for request in made[0].requests)
    assert subject.generate_within(8, 2.0) == (8, 8 * PER_TOKEN)
    assert "stream" not in made[0].requests[-1]  # it is known to fit, and a reply as a whole costs less


def test_xllamacpp_says_what_went_wrong(xl: tuple[XllamacppSubject, list[FakeServer]]) -> None:
    subject, made = xl
    load(subject, n_ctx=16)
    with pytest.raises(RuntimeError, match="13 tokens came instead of 65: is n_ctx too small"):
        subject.generate(64)
    made[0].error = {"message": "exceeds the available context"}
    for ask in (lambda: subject.generate(4), lambda: subject.prompt(4, 0), lambda: subject.outputs(4, NO_LIMIT)):
        with pytest.raises(RuntimeError, match="exceeds the available context"):
            ask()
