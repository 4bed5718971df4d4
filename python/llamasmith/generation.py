"""Generated texts: what they are made with, what comes out, and how it is handed over."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._background import in_thread
from ._check import INT32_MAX, integer, known_names, number, token_ids, utf8
from ._native import _core
from .errors import InvalidOption
from .grammar import json_schema_grammar
from .options import GenerateOptions
from .samplers import Dist, Grammar, Greedy, LogitBias, MinP, Penalties, Sampler, Temp, TopK, TopP, sampler_chain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from .model import Model

__all__ = ["AsyncStream", "Generation", "Stream", "Timings"]


@dataclass(frozen=True)
class Timings:
    """Times of one generation, in seconds of a monotonic clock read in native code, and what was counted."""

    prompt_tokens: int
    prompt_seconds: float
    """From the start until the first token was chosen."""
    generated_tokens: int
    generate_seconds: float
    """For all tokens after the first."""
    reused_tokens: int = 0
    """Tokens of the prompt that were in the memory already."""
    drafted_tokens: int = 0
    """Tokens that a draft proposed."""
    accepted_tokens: int = 0
    """... and that the model chose, too."""
    shifted_tokens: int = 0
    """Tokens that were dropped from the memory to make room (`context_shift`)."""

    @property
    def prompt_tokens_per_second(self) -> float:
        """Of the tokens that were evaluated."""
        evaluated = self.prompt_tokens - self.reused_tokens
        return evaluated / self.prompt_seconds if self.prompt_seconds > 0 else 0.0

    @property
    def generated_tokens_per_second(self) -> float:
        """The rate after the first token, which the prompt has paid for."""
        later = self.generated_tokens - 1
        return later / self.generate_seconds if later > 0 and self.generate_seconds > 0 else 0.0

    @property
    def acceptance(self) -> float:
        """The part of the drafted tokens that were accepted; 0 without a draft."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0


@dataclass(frozen=True)
class Generation:
    """A generated text. `stop_reason`: ``eos``, ``stop``, ``length``, ``context``, ``cancelled`` or ``interrupted``."""

    text: str
    tokens: tuple[int, ...]
    stop_reason: str
    timings: Timings


class Stream(Iterator[str]):
    """Text as it is generated. `result` is known when it has ended; breaking off early costs nothing."""

    def __init__(self, session: _core.Session, generation: int, turn: AbstractContextManager[Any]) -> None:
        self._session = session
        self._id = generation
        self._turn = turn
        self._pieces: list[str] = []
        self._ended = False

    def __next__(self) -> str:
        while not self._ended:
            with self._turn:
                piece, stop_reason = self._session.advance(self._id, 1)
            self._ended = bool(stop_reason)
            if piece:
                self._pieces.append(piece)
                return piece
        raise StopIteration

    def finish(self) -> Generation:
        """Generates the rest in one native call, without handing out text in between."""
        with self._turn:
            if not self._ended:
                piece, _ = self._session.advance(self._id, INT32_MAX)
                self._pieces.append(piece)
                self._ended = True
            return self.result

    @property
    def result(self) -> Generation:
        """What has been generated so far."""
        with self._turn:
            return generation_of("".join(self._pieces), self._session.state(self._id))


class AsyncStream(AsyncIterator[str]):
    """Text as it is generated, for asyncio. A cancelled task stops the generation; `result` is what there is so far."""

    def __init__(
        self, turn: AbstractContextManager[Any], cancel: Callable[[], None], start: Callable[[], Stream]
    ) -> None:
        self._turn = turn
        self._cancel = cancel
        self._start = start
        self._stream: Stream | None = None

    def _advance(self) -> str | None:
        if self._stream is None:
            self._stream = self._start()
        return next(self._stream, None)

    async def __anext__(self) -> str:
        piece = await in_thread(self._turn, self._advance, self._cancel)
        if piece is None:
            raise StopAsyncIteration
        return piece

    @property
    def result(self) -> Generation:
        """What has been generated so far. Raises InvalidOption before it has begun."""
        if self._stream is None:
            raise InvalidOption("The generation has not begun: iterate first.")
        return self._stream.result


def generation_of(text: str, state: _core.GenerationState) -> Generation:
    """A generation from what native code tells of it."""
    timings = Timings(
        prompt_tokens=state["prompt_tokens"],
        prompt_seconds=state["prompt_seconds"],
        generated_tokens=state["generated_tokens"],
        generate_seconds=state["generate_seconds"],
        reused_tokens=state["reused_tokens"],
        drafted_tokens=state["drafted_tokens"],
        accepted_tokens=state["accepted_tokens"],
        shifted_tokens=state["shifted_tokens"],
    )
    return Generation(text, state["tokens"], state["stop_reason"], timings)


def prompt_tokens(
    model: Model, prompt: str | bytes | Sequence[int], *, add_special: bool, parse_special: bool
) -> list[int]:
    """A prompt's tokens: a text's, or those that were given."""
    if isinstance(prompt, (str, bytes)):
        return model.tokenize(utf8(prompt, "prompt"), add_special=add_special, parse_special=parse_special)
    return token_ids(prompt)


def native_options(model: Model, options: GenerateOptions) -> dict[str, Any]:
    """Options of a generation as the extension takes them. Raises InvalidOption, TypeError for unknown names."""
    known_names(options, GenerateOptions.__annotations__, "generating")
    stop = options.get("stop", ())
    max_tokens = options.get("max_tokens", 128)
    seed = options.get("seed")
    made: dict[str, Any] = {
        "max_tokens": -1
        if max_tokens is None
        else integer("max_tokens", max_tokens, 0, INT32_MAX, "; None for all that fit"),
        "temperature": number("temperature", options.get("temperature", 0.8)),
        "top_k": integer("top_k", options.get("top_k", 40), 0, INT32_MAX, " (0 for all)"),
        "top_p": number("top_p", options.get("top_p", 0.95)),
        "seed": secrets.randbits(32) if seed is None else integer("seed", seed, 0, 2**32 - 1),
        "stop": [utf8(text, "stop string") for text in ([stop] if isinstance(stop, (str, bytes)) else stop)],
        "ignore_eos": options.get("ignore_eos", False),
    }
    chain = _chain(model, options, made)
    if chain is not None:
        made["sampler"] = chain
    return made


def _chain(model: Model, options: GenerateOptions, made: dict[str, Any]) -> _core.SamplerChain | None:
    """The samplers that the options ask for; None where those of the extension's own loop do."""
    samplers = options.get("samplers")
    grammar, schema = options.get("grammar"), options.get("json_schema")
    bias, min_p = options.get("logit_bias") or {}, number("min_p", options.get("min_p", 0.0))
    penalty = number("repeat_penalty", options.get("repeat_penalty", 1.0))
    if grammar is not None and schema is not None:
        raise InvalidOption("Give either grammar or json_schema.")
    if samplers is not None:
        for name, given in (
            ("grammar", grammar is not None),
            ("json_schema", schema is not None),
            ("logit_bias", bool(bias)),
            ("min_p", min_p != 0),
            ("repeat_penalty", penalty != 1),
        ):
            if given:
                raise InvalidOption(f"With samplers=, {name} has no place of its own: put its sampler among them.")
        return samplers if isinstance(samplers, _core.SamplerChain) else sampler_chain(model, samplers)
    if schema is not None:
        grammar = json_schema_grammar(schema)
    if grammar is None and not bias and min_p == 0 and penalty == 1:
        return None
    chosen: list[Sampler] = []
    if bias:
        chosen.append(LogitBias(bias))
    if grammar is not None:
        chosen.append(Grammar(utf8(grammar, "grammar")))
    if penalty != 1:
        chosen.append(Penalties(repeat=penalty))
    if made["temperature"] == 0:
        return sampler_chain(model, [*chosen, Greedy()])
    chosen += [TopK(made["top_k"]), TopP(made["top_p"]), MinP(min_p), Temp(made["temperature"]), Dist(made["seed"])]
    return sampler_chain(model, chosen)
