"""Running a model: one conversation or document, and what follows from it."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from . import _state
from ._background import in_thread
from ._check import file_path, integer, number, one_of, token_ids
from ._closing import Closing
from ._context import SharedContext, default_ctx
from ._native import _core
from .errors import InvalidOption
from .generation import AsyncStream, Generation, Stream, Timings, native_options, prompt_tokens
from .speculation import Draft

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Unpack

    from .chat import Message
    from .model import Model
    from .options import ChatOptions, ContextOptions, GenerateOptions, PromptOptions
    from .pool import PoolCounters, ThreadPool

__all__ = ["AsyncStream", "Generation", "Session", "Stream", "Timings"]

MAX_FORKS = 63


class Session(Closing):
    """One conversation or document: a memory of tokens, and what follows from them.

    One thread at a time may use a session; many sessions may run one model at once. A call stopped by Ctrl-C or by an
    error leaves the memory as it was before the call.

    Args:
        model: what to run.
        n_ctx: room for tokens; by default the model's training length, at most 4096; 0 for all of it. Forks share it.
        n_outputs_max: tokens of one batch whose logits can be had at once, see `decode()` and `score()`; each costs
            ``4 * n_vocab`` bytes.
        max_forks: how many forks may be open at once.
        draft: who guesses the next tokens: `NgramDraft` or `ModelDraft`.
        on_busy: what happens to a thread that comes while another one uses the session: ``raise`` (SessionBusy), or
            ``wait`` for its turn.
        options: see `ContextOptions`.

    Raises InvalidOption, NotEnoughMemory, SessionClosed (closed model).
    """

    def __init__(
        self,
        model: Model,
        *,
        n_ctx: int | None = None,
        n_outputs_max: int = 1,
        max_forks: int = 0,
        draft: Draft | None = None,
        on_busy: str = "raise",
        **options: Unpack[ContextOptions],
    ) -> None:
        self.model = model
        one_of("on_busy", on_busy, ("raise", "wait"))
        forks = integer("max_forks", max_forks, 0, MAX_FORKS)
        if draft is not None:
            _check_draft(model, draft, options)
            n_outputs_max = max(n_outputs_max, draft.limit + 1)
        self._shared = SharedContext(
            model,
            options,
            "Session",
            n_ctx=default_ctx(model) if n_ctx is None else n_ctx,
            n_outputs_max=n_outputs_max,
            n_seq_max=1 + forks,
            kv_unified=forks > 0,  # one cache, whose cells several sequences can have in common
        )
        self._turn: AbstractContextManager[Any] = threading.RLock() if on_busy == "wait" else nullcontext()
        self._drafting: SharedContext | None = None
        guessing = None
        if draft is not None:
            pool = self._shared.pool
            same: ContextOptions = {"pool": pool} if pool is not None else {"n_threads": self._shared.n_threads}
            guessing, self._drafting = draft._make(self._shared.native.n_ctx_seq, same)
        self._native = _core.Session(self._shared.native, draft=guessing)
        self._open = True

    @property
    def _context(self) -> _core.Context:
        return self._shared.native

    @property
    def pool(self) -> ThreadPool | None:
        """The threads that compute; None with ``disposable_pool=True``."""
        return self._shared.pool

    @property
    def pool_batch(self) -> ThreadPool | None:
        """... and those for prompts, the same unless `n_threads_batch` was given."""
        return self._shared.pool_batch

    @property
    def n_ctx(self) -> int:
        """Room for tokens, as llama.cpp made it (it rounds up)."""
        return self._native.n_ctx

    @property
    def n_past(self) -> int:
        """Tokens in the memory."""
        return self._native.n_past

    @property
    def tokens(self) -> list[int]:
        """The tokens in the memory; -1 for those of a state that came without them.

        A generation's last token is not among them: it is evaluated when the session goes on from there.
        """
        with self._turn:
            return self._native.tokens

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
        with self._turn:
            return self._native.decode(token_ids(tokens), all_logits=all_logits)

    def score(
        self, text: str | bytes | Sequence[int], *, append: bool = False, first: int = 0, parse_special: bool = False
    ) -> npt.NDArray[np.float32]:
        """How likely the model finds a text: the natural logarithm of each token's probability, given those before it.

        An array of shape ``(n_tokens - 1 - first,)``: of the tokens after place `first`. Evaluated in batches of at
        most `n_outputs_max` tokens, so make the session with some hundred of them. The memory holds the text then;
        `append` adds it to what is there. Raises InvalidOption for less than two tokens, ContextFull, DecodeFailed.
        """
        tokens = prompt_tokens(self.model, text, add_special=not append, parse_special=parse_special)
        with self._turn:
            if not append:
                self._native.reset()
            return self._native.score(tokens, first=integer("first", first, 0, max(0, len(tokens) - 1)))

    def generate(
        self,
        prompt: str | bytes | Sequence[int],
        *,
        append: bool = False,
        reuse: bool = True,
        context_shift: bool = False,
        n_keep: int | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Generation:
        """Continues a prompt.

        Args:
            prompt: a text, or token ids (taken as they are).
            append: go on from what the session holds; by default the prompt is all there is.
            reuse: keep what the memory has in common with the prompt: only the rest of it is evaluated. The logits may
                differ in their last bits from those of a prompt evaluated in one go.
            context_shift: when the context is full, drop the older half of the text from the memory and go on, instead
                of ending. What is computed from then on still carries traces of what was dropped.
            n_keep: tokens at the start that a shift never drops; by default the begin token alone.
            options: see `GenerateOptions`.

        Raises InvalidOption, ContextFull (the prompt does not fit), DecodeFailed, SessionBusy, SessionClosed.
        """
        with self._turn:
            stream = self.stream(
                prompt, append=append, reuse=reuse, context_shift=context_shift, n_keep=n_keep, **options
            )
            return stream.finish()

    def stream(
        self,
        prompt: str | bytes | Sequence[int],
        *,
        append: bool = False,
        reuse: bool = True,
        context_shift: bool = False,
        n_keep: int | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Stream:
        """Like `generate()`, but an iterator of text: never half a character, never part of a stop string."""
        native = native_options(self.model, options)
        tokens = prompt_tokens(
            self.model, prompt, add_special=not append, parse_special=options.get("parse_special", True)
        )
        begin = int(bool(tokens) and tokens[0] == self.model.token_bos)
        with self._turn:
            generation = self._native.start(
                tokens,
                append=append,
                reuse=reuse,
                context_shift=context_shift,
                n_keep=begin if n_keep is None else integer("n_keep", n_keep, 0, 2**31 - 1),
                **native,
            )
        return Stream(self._native, generation, self._turn)

    async def agenerate(self, prompt: str | bytes | Sequence[int], **options: Unpack[PromptOptions]) -> Generation:
        """`generate()` for asyncio, with the same arguments: in a thread; a cancelled task stops it."""
        return await in_thread(self._turn, lambda: self.generate(prompt, **options), self.cancel)

    def astream(self, prompt: str | bytes | Sequence[int], **options: Unpack[PromptOptions]) -> AsyncStream:
        """`stream()` for asyncio, with the same arguments: ``async for piece in session.astream(...)``."""
        return AsyncStream(self._turn, self.cancel, lambda: self.stream(prompt, **options))

    def chat(
        self,
        messages: Sequence[Message],
        *,
        template: str | None = None,
        template_options: Mapping[str, Any] | None = None,
        **options: Unpack[PromptOptions],
    ) -> Generation:
        """The model's answer to a conversation, by its own chat template (`Model.chat_prompt()`).

        Give the whole conversation each time: what the memory holds of it already is not evaluated again.

        Args:
            messages: ``{"role": "user", "content": "..."}`` and so on, in order.
            template: name of one of `Model.chat_template_names`, by default the main one.
            template_options: what else the template knows, such as ``tools`` or ``enable_thinking``.
            options: of `generate()`.

        Raises what `generate()` and `Model.chat_prompt()` raise.
        """
        with self._turn:
            return self.chat_stream(messages, template=template, template_options=template_options, **options).finish()

    def chat_stream(
        self,
        messages: Sequence[Message],
        *,
        template: str | None = None,
        template_options: Mapping[str, Any] | None = None,
        **options: Unpack[PromptOptions],
    ) -> Stream:
        """Like `chat()`, but an iterator of text."""
        tokens = self.model.chat_tokens(messages, template=template, **(template_options or {}))
        return self.stream(tokens, **options)

    async def achat(self, messages: Sequence[Message], **options: Unpack[ChatOptions]) -> Generation:
        """`chat()` for asyncio, with the same arguments."""
        return await in_thread(self._turn, lambda: self.chat(messages, **options), self.cancel)

    def achat_stream(self, messages: Sequence[Message], **options: Unpack[ChatOptions]) -> AsyncStream:
        """`chat_stream()` for asyncio, with the same arguments."""
        return AsyncStream(self._turn, self.cancel, lambda: self.chat_stream(messages, **options))

    def cancel(self) -> None:
        """Stops the call that another thread has under way, within one node of the graph."""
        self._native.cancel()

    def fork(self) -> Session:
        """Another session that goes on from here. What both remember takes memory and time only once.

        It shares the context: `n_ctx` tokens for all together, adapters, threads; so one of them computes at a time. It
        lives as long as it is open, whatever becomes of this one; it has no draft. Raises InvalidOption if `max_forks`
        are open.
        """
        with self._turn:
            native = self._native.fork()
        other = Session.__new__(Session)
        other.model, other._shared, other._turn = self.model, self._shared, self._turn
        other._drafting, other._native, other._open = None, native, True
        self._shared.join()
        return other

    def set_adapters(self, adapters: Mapping[_core.LoraAdapter, float] | None = None) -> None:
        """Adds LoRA adapters (`Model.load_adapter()`) to the model, each times its scale, in place of those before.

        What the session holds was computed without them: `append` goes on from there all the same, but no prompt is
        taken to have it in common. Raises InvalidOption.
        """
        pairs = [(key, number("scale", scale)) for key, scale in (adapters or {}).items()]
        with self._turn:
            self._context.set_adapters(pairs)

    def set_control_vector(
        self, data: npt.NDArray[np.float32] | None, *, first_layer: int = 1, last_layer: int | None = None
    ) -> None:
        """Adds a row of numbers to the hidden state of each layer; None for none.

        As with `set_adapters()`, what the session holds stays as it was computed.

        Args:
            data: shape ``(layers, n_embd)``, float32, beginning with layer 1; see `read_control_vector()`.
            first_layer, last_layer: the layers that get theirs, both inclusive.
        """
        with self._turn:
            self._context.set_control_vector(data, first_layer=first_layer, last_layer=last_layer)

    def save_state(self) -> bytes:
        """What the session remembers, as bytes: `load_state()` goes on from there, also in another process."""
        with self._turn:
            self._native.settle()
            tokens = self._native.tokens
            return _state.pack(tokens, self._context.save_state(seq_id=self._native.seq_id, partial=False))

    def load_state(self, state: bytes) -> None:
        """Takes back what `save_state()` of a session of the same model gave.

        Raises InvalidState for bytes that are damaged or do not fit; the session is empty then, or as it was.
        """
        tokens, memory = _state.unpack(state)
        with self._turn:
            self._native.reset()
            self._context.load_state(memory, seq_id=self._native.seq_id)
            self._native.set_tokens(tokens)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes what the session remembers to a file, which llama-server can read as a slot, too.

        Raises ModelNotFound if it cannot be written.
        """
        with self._turn:
            self._native.settle()
            tokens = self._native.tokens
            self._context.save_state_file(file_path(path), tokens=tokens, seq_id=self._native.seq_id)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Takes back what `save()` of a session of the same model wrote.

        Raises ModelNotFound, or InvalidState for a file that is damaged or does not fit; the session is empty then.
        """
        with self._turn:
            self._native.reset()
            tokens = self._context.load_state_file(file_path(path), seq_id=self._native.seq_id)
            self._native.set_tokens(tokens)

    def memory_breakdown(self) -> list[_core.MemoryRow]:
        """Bytes of memory for weights, context and computing, for each kind of memory."""
        with self._turn:
            return self._context.memory_breakdown()

    def perf(self) -> _core.PerfValues:
        """llama.cpp's own clocks, in milliseconds; need ``no_perf=False``. `n_reused`: graphs used again."""
        with self._turn:
            return self._context.perf()

    def counters(self) -> PoolCounters | None:
        """What waiting has cost the pool for generation. None without a pool, and in engines that do not count."""
        return None if self.pool is None else self.pool.counters()

    def reset(self) -> None:
        """Forgets all tokens."""
        with self._turn:
            self._native.reset()

    def close(self) -> None:
        """Frees what the session alone uses; with the last of its forks the context and its threads. Closing twice is
        allowed."""
        if not self._open:
            return
        with self._turn:
            self._native.close()
            self._open = False
            self._shared.leave()
            if self._drafting is not None:
                self._drafting.leave()

    def __repr__(self) -> str:
        threads = f"{self._shared.n_threads} disposable threads" if self.pool is None else repr(self.pool)
        state = "closed" if self._native.closed else threads
        return f"<llamasmith.Session of {self.model.path.name}: {state}>"


def _check_draft(model: Model, draft: Draft, options: ContextOptions) -> None:
    if not isinstance(draft, Draft):
        raise InvalidOption(f"{draft!r} is no draft. Give NgramDraft() or ModelDraft(model).")
    if model.facts["n_swa"] > 0 and not options.get("swa_full", True):
        raise InvalidOption("A draft needs swa_full=True: guesses are taken back, beyond what a small window keeps.")
