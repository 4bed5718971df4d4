"""llama-cpp-python."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..foreign import check_options, check_sessions, need
from ..subject import PROMPT, NotSupported, Subject
from ..tokens import random_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LlamaCppPythonSubject"]

_NAME = "llama-cpp-python"
_FLASH_ATTN = {"on": True, "off": False}
_PLAIN = ("n_threads", "n_threads_batch", "n_ctx", "n_batch", "n_ubatch")


class LlamaCppPythonSubject(Subject):
    """The class `Llama`, as most users run it, with `logits_all=False`. `package` is llama_cpp, or a stand-in.

    ``pp`` is one `Llama.eval()` after a `Llama.reset()`. ``tg`` is `Llama.generate()` with `temp=0`: for each token an
    `eval()` and a `sample()` by the greedy sampler, but not the text that `create_completion()` makes of it. The end of
    the text is a token like any other: where our engine must choose another one instead, the outputs differ from there
    on.
    """

    def __init__(self, package: Any = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._package = package
        self._clock = clock
        self._llama: Any = None
        self._prompt: list[int] = []

    def load(
        self, *, engine: str, model: str, model_options: dict[str, Any], session_options: dict[str, Any], sessions: int
    ) -> dict[str, Any]:
        check_sessions(_NAME, sessions)
        check_options(_NAME, model_options | session_options)
        if self._package is None:
            self._package = need(_NAME, "llama_cpp")
        flash_attn = session_options.get("flash_attn", "off")
        self._llama = self._package.Llama(model, verbose=False, **self._options(session_options))
        self._prompt = list(self._llama.tokenize(PROMPT.encode()))
        return {
            "library": _NAME,
            "version": self._package.__version__,
            "system_info": self._package.llama_print_system_info().decode(),
            "flash_attn": flash_attn,
            "n_vocab": self._llama.n_vocab(),
        }

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        options: dict[str, Any] = {name: given[name] for name in _PLAIN if name in given}
        if "n_threads" in given:  # by itself it would take all CPUs for prompts
            options.setdefault("n_threads_batch", given["n_threads"])
        if "flash_attn" in given:
            if given["flash_attn"] not in _FLASH_ATTN:
                raise NotSupported(f"{_NAME} takes flash_attn as on or off, not as {given['flash_attn']!r}")
            options["flash_attn"] = _FLASH_ATTN[given["flash_attn"]]
        return options | {name: self._type(given[name]) for name in ("type_k", "type_v") if name in given}

    def _type(self, name: str) -> int:
        number = getattr(self._package, f"GGML_TYPE_{name.upper()}", None)
        if number is None:
            raise NotSupported(f"{_NAME} knows no ggml type {name!r}; f16 and q8_0 are two that it knows")
        return int(number)

    def prompt(self, n: int, seed: int) -> float:
        tokens = random_tokens(n, seed, self._llama.n_vocab())
        self._llama.reset()
        begin = self._clock()
        self._llama.eval(tokens)
        return self._clock() - begin

    def generate(self, n: int) -> float:
        return self.generate_within(n, float("inf"))[1]

    def generate_within(self, n: int, limit_seconds: float) -> tuple[int, float]:
        stream, done = self._stream(self._prompt), 0
        next(stream)
        begin = end = self._clock()
        while done < n and end - begin < limit_seconds:
            next(stream)
            done += 1
            end = self._clock()
        return done, end - begin

    def first_token(self, n: int, seed: int) -> float:
        tokens = random_tokens(n, seed, self._llama.n_vocab())
        stream = self._stream(tokens)
        begin = self._clock()
        next(stream)
        return self._clock() - begin

    def outputs(self, n: int, limit_seconds: float) -> dict[str, Any]:
        tokens, begin = [], self._clock()
        for token in self._stream(self._prompt):
            tokens.append(int(token))
            if len(tokens) == n or self._clock() - begin >= limit_seconds:
                break
        return {"tokens": tokens}

    def _stream(self, tokens: list[int]) -> Iterator[int]:
        """Endless greedy tokens; nothing has been computed yet, and nothing of an earlier prompt is used again."""
        self._llama.reset()
        stream: Iterator[int] = self._llama.generate(tokens, temp=0.0, repeat_penalty=1.0)
        return stream
