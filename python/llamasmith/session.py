"""Running a model: sessions, generated text."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._check import INT32_MAX, integer, number, token_ids, utf8
from ._closing import Closing
from ._native import _core
from .errors import InvalidOption
from .pool import ThreadPool, thread_count, warn_of_too_many
from .samplers import sampler_chain
from .threads import thread_budget

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .model import Model
    from .pool import PoolCounters
    from .samplers import Sampler

__all__ = ["Generation", "Session", "Stream", "Timings"]

# What a context costs grows with n_ctx: unless asked for, we take no more than this many tokens.
DEFAULT_MAX_CTX = 4096
# Ours: larger batches only cost memory.
MAX_BATCH = 65536


@dataclass(frozen=True)
class Timings:
    """Times of one generation, in seconds of a monotonic clock read in native code."""

    prompt_tokens: int
    prompt_seconds: float
    """From the start until the first token was chosen."""
    generated_tokens: int
    generate_seconds: float
    """For all tokens after the first."""

    @property
    def prompt_tokens_per_second(self) -> float:
        return self.prompt_tokens / self.prompt_seconds if self.prompt_seconds > 0 else 0.0

    @property
    def generated_tokens_per_second(self) -> float:
        """The rate after the first token, which the prompt has paid for."""
        later = self.generated_tokens - 1
        return later / self.generate_seconds if later > 0 and self.generate_seconds > 0 else 0.0


@dataclass(frozen=True)
class Generation:
    """A generated text. `stop_reason`: ``eos``, ``stop``, ``length``, ``context``, ``cancelled`` or ``interrupted``."""

    text: str
    tokens: tuple[int, ...]
    stop_reason: str
    timings: Timings


class Stream(Iterator[str]):
    """Text as it is generated. `result` is known when it has ended; breaking off early costs nothing."""

    def __init__(self, session: _core.Session, generation: int) -> None:
        self._session = session
        self._id = generation
        self._pieces: list[str] = []
        self._ended = False

    def __next__(self) -> str:
        while not self._ended:
            piece, stop_reason = self._session.advance(self._id, 1)
            self._ended = bool(stop_reason)
            if piece:
                self._pieces.append(piece)
                return piece
        raise StopIteration

    def finish(self) -> Generation:
        """Generates the rest in one native call, without handing out text in between."""
        if not self._ended:
            piece, _ = self._session.advance(self._id, INT32_MAX)
            self._pieces.append(piece)
            self._ended = True
        return self.result

    @property
    def result(self) -> Generation:
        """What has been generated so far."""
        return _generation("".join(self._pieces), self._session.state(self._id))


def _generation(text: str, state: _core.GenerationState) -> Generation:
    timings = Timings(
        state["prompt_tokens"], state["prompt_seconds"], state["generated_tokens"], state["generate_seconds"]
    )
    return Generation(text, state["tokens"], state["stop_reason"], timings)


def _chain(model: Model, samplers: Sequence[Sampler] | _core.SamplerChain | None) -> _core.SamplerChain | None:
    if samplers is None or isinstance(samplers, _core.SamplerChain):
        return samplers
    return sampler_chain(model, samplers)


def _default_ctx(model: Model) -> int:
    return min(model.n_ctx_train, DEFAULT_MAX_CTX) if model.n_ctx_train > 0 else DEFAULT_MAX_CTX


class Session(Closing):
    """A context of a model with its own thread pool: a memory of tokens, and what follows from them.

    One thread at a time may use a session (another gets SessionBusy); many sessions may run one model at once.
    A call stopped by Ctrl-C or by an error leaves the memory as it was before the call.

    Args:
        model: what to run.
        n_ctx: room for tokens; by default the model's training length, at most 4096; 0 for all of it.
        n_batch: tokens evaluated in one call of llama.cpp, the most.
        n_ubatch: ... and in one graph.
        n_threads: compute threads; by default what this process may really use.
        n_threads_batch: compute threads for prompts, if another number.
        wait: how threads wait, see `ThreadPool`.
        pool: a ThreadPool to share, instead of `n_threads`, `n_threads_batch` and `wait`.
        disposable_pool: do without a pool: the engine makes threads for every graph and ends them after it, as
            llama.cpp does for programs that give it no pool. `pool` is None then, and `wait` is the engine's default.
        n_outputs_max: tokens of one batch whose logits can be had, see `decode()`; each costs ``4 * n_vocab`` bytes.
        flash_attn: ``auto`` (llama.cpp decides), ``on`` or ``off``.
        type_k, type_v: types of the KV cache: ``f16``, ``f32``, ``bf16``, ``q8_0``, ``q4_0``, ...
        offload_kqv: keep the KV cache, and compute attention, on the device of each layer.
        op_offload: compute large batches on a device though the weights lie in the host's memory.
        swa_full: keep all tokens in the cache of layers that see only a window of them: prefixes can be reused then.
        n_rs_seq: snapshots of a recurrent model's state, to take back so many tokens; 0 for none.
        attention_type: ``unspecified`` (as the model says), ``causal`` or ``non_causal``.
        rope_scaling_type: ``unspecified`` (as the model says), ``none``, ``linear``, ``yarn`` or ``longrope``.
        rope_freq_base, rope_freq_scale: of the rotary positions; 0 as the model says.
        yarn_ext_factor, yarn_attn_factor, yarn_beta_fast, yarn_beta_slow: of YaRN; negative as the model says.
        yarn_orig_ctx: the length that the model was trained with, for YaRN; 0 as the model says.
        no_perf: do without llama.cpp's own clocks, see `perf()`.

    Raises InvalidOption, NotEnoughMemory, SessionClosed (closed model).
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int | None = None,
        n_batch: int = 2048,
        n_ubatch: int = 512,
        n_threads: int | None = None,
        n_threads_batch: int | None = None,
        wait: str | None = None,
        pool: ThreadPool | None = None,
        disposable_pool: bool = False,
        n_outputs_max: int = 1,
        flash_attn: str = "auto",
        type_k: str = "f16",
        type_v: str = "f16",
        offload_kqv: bool = True,
        op_offload: bool = True,
        swa_full: bool = True,
        n_rs_seq: int = 0,
        attention_type: str = "unspecified",
        rope_scaling_type: str = "unspecified",
        rope_freq_base: float = 0.0,
        rope_freq_scale: float = 0.0,
        yarn_ext_factor: float = -1.0,
        yarn_attn_factor: float = -1.0,
        yarn_beta_fast: float = -1.0,
        yarn_beta_slow: float = -1.0,
        yarn_orig_ctx: int = 0,
        no_perf: bool = True,
    ) -> None:
        if pool is not None and (n_threads is not None or n_threads_batch is not None or wait is not None):
            raise InvalidOption("Give either pool, or n_threads, n_threads_batch and wait; the pool has its own.")
        if disposable_pool and (pool is not None or wait is not None):
            raise InvalidOption("disposable_pool=True means threads without a pool: leave out pool and wait.")
        self.model = model
        self._n_threads = thread_count(n_threads) if pool is None else pool.n_threads
        n_batch_threads = (
            self._n_threads if n_threads_batch is None else thread_count(n_threads_batch, "n_threads_batch")
        )
        self.pool = pool
        if disposable_pool:
            warn_of_too_many(max(self._n_threads, n_batch_threads), thread_budget())
        elif pool is None:
            self.pool = ThreadPool(self._n_threads, wait=wait)
        self.pool_batch = self.pool
        if self.pool is not None and n_batch_threads != self._n_threads:
            self.pool_batch = ThreadPool(n_batch_threads, wait=wait)
        self._own_pools = pool is None
        self._native = _core.Session(
            model._native,
            pool=None if self.pool is None else self.pool._native,
            pool_batch=None if self.pool_batch is None else self.pool_batch._native,
            n_threads=self._n_threads,
            n_threads_batch=n_batch_threads,
            n_ctx=integer("n_ctx", _default_ctx(model) if n_ctx is None else n_ctx, 0, INT32_MAX),
            n_batch=integer("n_batch", n_batch, 1, MAX_BATCH),
            n_ubatch=integer("n_ubatch", n_ubatch, 1, MAX_BATCH),
            n_outputs_max=integer("n_outputs_max", n_outputs_max, 1, MAX_BATCH),
            flash_attn=flash_attn,
            type_k=type_k,
            type_v=type_v,
            offload_kqv=offload_kqv,
            op_offload=op_offload,
            swa_full=swa_full,
            n_rs_seq=integer("n_rs_seq", n_rs_seq, 0, 64),
            attention_type=attention_type,
            rope_scaling_type=rope_scaling_type,
            rope_freq_base=number("rope_freq_base", rope_freq_base),
            rope_freq_scale=number("rope_freq_scale", rope_freq_scale),
            yarn_ext_factor=number("yarn_ext_factor", yarn_ext_factor),
            yarn_attn_factor=number("yarn_attn_factor", yarn_attn_factor),
            yarn_beta_fast=number("yarn_beta_fast", yarn_beta_fast),
            yarn_beta_slow=number("yarn_beta_slow", yarn_beta_slow),
            yarn_orig_ctx=integer("yarn_orig_ctx", yarn_orig_ctx, 0, INT32_MAX),
            no_perf=no_perf,
        )

    @property
    def n_ctx(self) -> int:
        """Room for tokens, as llama.cpp made it (it rounds up)."""
        return self._native.n_ctx

    @property
    def n_past(self) -> int:
        """Tokens in the memory."""
        return self._native.n_past

    @property
    def busy(self) -> bool:
        """Whether some thread is using the session just now."""
        return self._native.busy

    def decode(self, tokens: Sequence[int], *, all_logits: bool = False) -> npt.NDArray[np.float32]:
        """Appends tokens to the memory and evaluates them.

        Returns the logits after the last one: a new array of shape ``(n_vocab,)``; with `all_logits` those after each,
        of shape ``(len(tokens), n_vocab)``, evaluated in batches of at most `n_outputs_max` tokens. Raises
        InvalidOption for ids outside the vocabulary, ContextFull, DecodeFailed, Cancelled.
        """
        return self._native.decode(token_ids(tokens), all_logits=all_logits)

    def generate(
        self,
        prompt: str | bytes | Sequence[int],
        *,
        max_tokens: int | None = 128,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        ignore_eos: bool = False,
        append: bool = False,
        parse_special: bool = True,
        samplers: Sequence[Sampler] | _core.SamplerChain | None = None,
    ) -> Generation:
        """Continues a prompt.

        Args:
            prompt: a text, or token ids (taken as they are).
            max_tokens: the most to generate; None for as many as fit into the context.
            temperature: 0 for the most likely token each time; larger for more variety.
            top_k: choose among the k most likely; 0 for all.
            top_p: choose among the most likely that together have this probability.
            seed: 0 to 2**32 - 1, for a repeatable choice; random by default.
            stop: texts that end the generation, and are left out of it.
            ignore_eos: go on after the model's end-of-generation token.
            append: go on from what the session holds; by default it forgets everything first.
            parse_special: take the text of control tokens for those tokens, as chat templates need it.
            samplers: samplers of `llamasmith.samplers` in the order given, in place of `temperature`, `top_k`, `top_p`
                and `seed`; or a chain of `sampler_chain()`, which keeps its state from one call to the next.

        Raises InvalidOption, ContextFull (the prompt does not fit), DecodeFailed, SessionBusy, SessionClosed.
        """
        stream = self.stream(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop=stop,
            ignore_eos=ignore_eos,
            append=append,
            parse_special=parse_special,
            samplers=samplers,
        )
        return stream.finish()

    def stream(
        self,
        prompt: str | bytes | Sequence[int],
        *,
        max_tokens: int | None = 128,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        ignore_eos: bool = False,
        append: bool = False,
        parse_special: bool = True,
        samplers: Sequence[Sampler] | _core.SamplerChain | None = None,
    ) -> Stream:
        """Like `generate()`, but an iterator of text: never half a character, never part of a stop string."""
        if isinstance(prompt, (str, bytes)):
            tokens = self.model.tokenize(utf8(prompt, "prompt"), add_special=not append, parse_special=parse_special)
        else:
            tokens = token_ids(prompt)
        stops = [stop] if isinstance(stop, str) else list(stop)
        generation = self._native.start(
            tokens,
            max_tokens=-1
            if max_tokens is None
            else integer("max_tokens", max_tokens, 0, INT32_MAX, "; None for all that fit"),
            temperature=temperature,
            top_k=integer("top_k", top_k, 0, INT32_MAX, " (0 for all)"),
            top_p=top_p,
            seed=secrets.randbits(32) if seed is None else integer("seed", seed, 0, 2**32 - 1),
            stop=[utf8(text, "stop string") for text in stops],
            ignore_eos=ignore_eos,
            append=append,
            sampler=_chain(self.model, samplers),
        )
        return Stream(self._native, generation)

    def cancel(self) -> None:
        """Stops the call that another thread has under way, within one node of the graph."""
        self._native.cancel()

    def set_adapters(self, adapters: Mapping[_core.LoraAdapter, float] | None = None) -> None:
        """Adds LoRA adapters (`load_adapter()`) to the model, each times its scale, in place of those before.

        What the session holds was computed without them: `reset()` it, unless that is what you want.
        Raises InvalidOption.
        """
        self._native.set_adapters([(key, number("scale", scale)) for key, scale in (adapters or {}).items()])

    def set_control_vector(
        self, data: npt.NDArray[np.float32] | None, *, first_layer: int = 1, last_layer: int | None = None
    ) -> None:
        """Adds a row of numbers to the hidden state of each layer; None for none.

        Args:
            data: shape ``(layers, n_embd)``, float32, beginning with layer 1; see `read_control_vector()`.
            first_layer, last_layer: the layers that get theirs, both inclusive.
        """
        self._native.set_control_vector(data, first_layer=first_layer, last_layer=last_layer)

    def save_state(self) -> bytes:
        """What the session remembers, as bytes: `load_state()` goes on from there, also in another process."""
        return self._native.save_state(seq_id=0, partial=False)

    def load_state(self, state: bytes) -> None:
        """Takes back what `save_state()` of a session of the same model gave.

        Raises InvalidState for bytes that are damaged or do not fit; the session is empty then, or as it was.
        """
        self._native.load_state(state, seq_id=0)

    def memory_breakdown(self) -> list[_core.MemoryRow]:
        """Bytes of memory for weights, context and computing, for each kind of memory."""
        return self._native.memory_breakdown()

    def perf(self) -> _core.PerfValues:
        """llama.cpp's own clocks, in milliseconds; need ``no_perf=False``. `n_reused`: graphs used again."""
        return self._native.perf()

    def counters(self) -> PoolCounters | None:
        """What waiting has cost the pool for generation. None without a pool, and in engines that do not count."""
        return None if self.pool is None else self.pool.counters()

    def reset(self) -> None:
        """Forgets all tokens."""
        self._native.reset()

    def close(self) -> None:
        """Frees the context and the session's own threads. Closing twice is allowed."""
        if not self._native.closed:  # one that has lost its RPC server has closed itself
            self._native.close()
        for pool in (self.pool, self.pool_batch) if self._own_pools else ():
            if pool is not None:
                pool.close()

    def __repr__(self) -> str:
        threads = f"{self._n_threads} disposable threads" if self.pool is None else repr(self.pool)
        state = "closed" if self._native.closed else threads
        return f"<llamasmith.Session of {self.model.path.name}: {state}>"
