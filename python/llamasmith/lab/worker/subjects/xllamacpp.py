"""xllamacpp."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

from ..foreign import check_options, check_sessions, need
from ..pace import Pace
from ..subject import PROMPT, NotSupported, Subject
from ..tokens import random_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["XllamacppSubject"]

_NAME = "xllamacpp"
_FLASH_ATTN = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}
_ONLY_ERRORS = 1  # common/log.h
_GREEDY = {"temperature": 0.0, "ignore_eos": True, "cache_prompt": False}


class XllamacppSubject(Subject):
    """`Server.handle_completions()`, the one way to run a model here: llama.cpp's server inside this process.

    Times are those that the server reports of its own work, so neither requests nor replies are in them. ``pp`` is
    `prompt_ms` of a prompt of token ids with one token to generate: reading the prompt and choosing that token, which
    is the time to first token as well. ``tg`` is `predicted_ms`: all tokens after the first, each chosen by the
    server's sampler at temperature 0 and turned into text; the end of the text is never chosen. Nothing of an earlier
    prompt is used again. The reply comes as a whole; only what may take longer than it is given comes token by token,
    which costs one or two per cent, and is stopped. `package` is xllamacpp, or a stand-in; `fetch` reads what the
    server says of its model.
    """

    def __init__(self, package: Any = None, fetch: Callable[[str], Any] | None = None) -> None:
        self._package = package
        self._fetch = fetch or _fetch
        self._server: Any = None
        self._n_vocab = 0
        self._pace = Pace()

    def load(
        self, *, engine: str, model: str, model_options: dict[str, Any], session_options: dict[str, Any], sessions: int
    ) -> dict[str, Any]:
        check_sessions(_NAME, sessions)
        options = model_options | session_options
        check_options(_NAME, options)
        if self._package is None:
            self._package = need(_NAME, "xllamacpp")
        self._server = self._package.Server(self._params(model, options))
        self._n_vocab = int(self._fetch(f"{self._server.listening_address}/v1/models")["data"][0]["meta"]["n_vocab"])
        return {
            "library": _NAME,
            "version": self._package.__version__,
            "system_info": self._package.get_system_info(),
            "n_vocab": self._n_vocab,
        }

    def _params(self, model: str, options: dict[str, Any]) -> Any:
        params = self._package.CommonParams()
        params.model.path = model
        params.n_parallel = 1
        params.cache_ram_mib = 0  # it would keep earlier prompts
        params.ui = False
        params.verbosity = _ONLY_ERRORS
        for name in ("n_ctx", "n_batch", "n_ubatch"):
            if name in options:
                setattr(params, name, options[name])
        if "n_threads" in options:
            params.cpuparams.n_threads = options["n_threads"]
            params.cpuparams_batch.n_threads = options.get("n_threads_batch", options["n_threads"])
        if "flash_attn" in options:
            kind = f"LLAMA_FLASH_ATTN_TYPE_{_FLASH_ATTN[options['flash_attn']]}"
            params.flash_attn_type = getattr(self._package.llama_flash_attn_type, kind)
        for name in ("type_k", "type_v"):
            if name in options:
                setattr(params, f"cache_{name}", self._type(options[name]))
        if "use_extra_bufts" in options:
            params.no_extra_bufts = not options["use_extra_bufts"]
        return params

    def _type(self, name: str) -> Any:
        kind = getattr(self._package.ggml_type, f"GGML_TYPE_{name.upper()}", None)
        if kind is None:
            raise NotSupported(f"{_NAME} knows no ggml type {name!r}; f16 and q8_0 are two that it knows")
        return kind

    def prompt(self, n: int, seed: int) -> float:
        return self.first_token(n, seed)

    def generate(self, n: int) -> float:
        return self.generate_within(n, float("inf"))[1]

    def generate_within(self, n: int, limit_seconds: float) -> tuple[int, float]:
        request = {"prompt": PROMPT, "max_tokens": n + 1}
        if self._pace.fits(n, limit_seconds) == n:
            timings = self._complete(request)["timings"]
        else:  # one token that the prompt has not paid for, at least
            timings = self._follow(request, limit_seconds, least=2)[-1]["timings"]
        done, seconds = int(timings["predicted_n"]) - 1, float(timings["predicted_ms"]) / 1e3
        if done < n and seconds < limit_seconds:
            raise RuntimeError(f"{done + 1} tokens came instead of {n + 1}: is n_ctx too small?")
        self._pace.saw(done, seconds)
        return done, seconds

    def first_token(self, n: int, seed: int) -> float:
        reply = self._complete({"prompt": random_tokens(n, seed, self._n_vocab), "max_tokens": 1})
        return float(reply["timings"]["prompt_ms"]) / 1e3

    def outputs(self, n: int, limit_seconds: float) -> dict[str, Any]:
        request = {"prompt": PROMPT, "max_tokens": n, "return_tokens": True, "verbose": True}
        pieces = self._follow(request, limit_seconds, least=1)
        return {"tokens": [int(token) for piece in pieces for token in piece["__verbose"]["tokens"]]}

    def _complete(self, request: dict[str, Any]) -> dict[str, Any]:
        reply: dict[str, Any] = self._server.handle_completions({**_GREEDY, **request})
        _check(reply)
        return reply

    def _follow(self, request: dict[str, Any], limit_seconds: float, least: int) -> list[dict[str, Any]]:
        """The reply token by token; it ends early once the time is over and `least` tokens have come."""
        pieces: list[dict[str, Any]] = []

        def follow(piece: dict[str, Any]) -> bool:
            pieces.append(piece)
            timings = piece.get("timings")  # an error has none, and nothing follows it
            return bool(timings and timings["predicted_n"] >= least and timings["predicted_ms"] >= limit_seconds * 1e3)

        self._server.handle_completions({**_GREEDY, **request, "stream": True, "timings_per_token": True}, follow)
        _check(pieces[-1] if pieces else {})
        return pieces


def _check(reply: dict[str, Any]) -> None:
    if "timings" not in reply:
        raise RuntimeError(f"xllamacpp's server says: {json.dumps(reply)}")


def _fetch(address: str) -> Any:
    # Not through a proxy that the environment may name: this is the process itself.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=60) as reply:
        return json.load(reply)
