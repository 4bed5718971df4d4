"""Many generations at once: each step evaluates one token of every request, in one batch (continuous batching)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._check import INT32_MAX, integer
from ._closing import Closing
from ._context import SharedContext, default_ctx
from ._native import _core
from .generation import Generation, generation_of, native_options, prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack

    from .chat import Message
    from .model import Model
    from .options import ContextOptions, GenerateOptions
    from .pool import PoolCounters, ThreadPool

__all__ = ["BatchSession", "Request"]

MAX_PARALLEL = 256  # upstream's, of sequences in a context


class Request(Iterator[str]):
    """One generation of a `BatchSession`. Iterating gives its text as it comes, and moves all others on with it."""

    def __init__(self, batch: BatchSession, number: int) -> None:
        self._batch = batch
        self._number = number
        self._pieces: list[str] = []
        self._given = 0  # pieces that have been iterated over
        self._ended: Generation | Exception | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._ended is not None

    @property
    def result(self) -> Generation:
        """What has been generated so far. Raises what its sampler has raised."""
        if isinstance(self._ended, Exception):
            raise self._ended
        return self._ended or self._read()

    def cancel(self) -> None:
        """Takes it out of the batch; what it has generated stays."""
        if not self.done:
            self._batch._native.cancel(self._number)
            self._batch._under_way.pop(self._number, None)
            self._end()

    def _end(self) -> None:
        """It has ended: keeps what there is, or the error, for `result`, and lets native code forget it."""
        try:
            self._ended = self._read()
        except Exception as error:
            self._ended = error
        self._batch._native.drop(self._number)

    def _take_text(self) -> None:
        piece, _ = self._batch._native.news(self._number)
        if piece:
            self._pieces.append(piece)

    def _read(self) -> Generation:
        self._take_text()
        return generation_of("".join(self._pieces), self._batch._native.state(self._number))

    def __next__(self) -> str:
        while True:
            if not self.done:
                self._take_text()
            if self._given < len(self._pieces):
                piece = "".join(self._pieces[self._given :])
                self._given = len(self._pieces)
                return piece
            if self.done:
                raise StopIteration
            self._batch.step()

    def __repr__(self) -> str:
        state = (
            self._ended.stop_reason if isinstance(self._ended, Generation) else "failed" if self.done else "under way"
        )
        return f"<llamasmith.Request {self._number}: {state}>"


class BatchSession(Closing):
    """Many requests on one model, decoded together: several times the tokens per second of one after another.

    Requests join and leave between steps; those that find no place wait for one. One thread at a time may use it.

    Args:
        model: what to run.
        n_parallel: requests that run at once, 1 to 256.
        n_ctx: room for tokens of each request, by default the model's training length, at most 4096.
        share_prefix: one cache for all: prompts that begin alike are evaluated once and kept once, and together they
            have room for ``n_ctx * n_parallel`` tokens, `n_ctx` or more of them each. Requests wait until what they may
            grow to (prompt and `max_tokens`) fits beside the others. Without it, each has a cache of its own, which
            computes faster where the texts have nothing in common.
        options: see `ContextOptions`.

    Raises InvalidOption, NotEnoughMemory, SessionClosed (closed model).
    """

    def __init__(
        self,
        model: Model,
        *,
        n_parallel: int = 8,
        n_ctx: int | None = None,
        share_prefix: bool = False,
        **options: Unpack[ContextOptions],
    ) -> None:
        self.model = model
        n = integer("n_parallel", n_parallel, 1, MAX_PARALLEL)
        each = integer("n_ctx", default_ctx(model) if n_ctx is None else n_ctx, 1, INT32_MAX // n)
        self._shared = SharedContext(
            model,
            options,
            "BatchSession",
            n_ctx=each * n,
            n_seq_max=n,
            n_outputs_max=n,
            kv_unified=share_prefix,
        )
        self._native = _core.BatchSession(self._shared.native)
        self._under_way: dict[int, Request] = {}

    @property
    def pool(self) -> ThreadPool | None:
        """The threads that compute; None with ``disposable_pool=True``."""
        return self._shared.pool

    @property
    def n_ctx(self) -> int:
        """Room for tokens of one request; with `share_prefix` of all together."""
        return self._shared.native.n_ctx_seq

    @property
    def n_running(self) -> int:
        """Requests in the batch."""
        return self._native.n_running

    @property
    def n_waiting(self) -> int:
        """Requests that wait for a place in it."""
        return self._native.n_waiting

    def submit(self, prompt: str | bytes | Sequence[int], **options: Unpack[GenerateOptions]) -> Request:
        """Adds a request, which joins the batch with a later step. Costs nothing yet.

        Args:
            prompt: a text, or token ids (taken as they are).
            options: see `GenerateOptions`; samplers are made anew for each request.

        Raises InvalidOption, ContextFull (the prompt can never fit), SessionClosed.
        """
        native = native_options(self.model, options)
        if isinstance(options.get("samplers"), _core.SamplerChain):
            native["sampler"] = native["sampler"].clone()  # a chain has the state of one text
        tokens = prompt_tokens(self.model, prompt, add_special=True, parse_special=options.get("parse_special", True))
        request = Request(self, self._native.submit(tokens, **native))
        self._under_way[request._number] = request
        return request

    def submit_chat(self, messages: Sequence[Message], **options: Unpack[GenerateOptions]) -> Request:
        """`submit()` of a conversation, by the model's chat template."""
        return self.submit(self.model.chat_tokens(messages), **options)

    def step(self, n: int = 1) -> list[Request]:
        """Up to `n` steps, fewer if a request ends; returns those that have ended.

        A step evaluates one token of each request that generates, and as much of the others' prompts as fits into
        `n_batch`. Raises DecodeFailed, or KeyboardInterrupt and the like; all requests can go on after that.
        """
        ended = self._native.advance(integer("n", n, 1, INT32_MAX))
        requests = [self._under_way.pop(number) for number in ended if number in self._under_way]
        for request in requests:
            request._end()
        return requests

    def as_completed(self) -> Iterator[Request]:
        """Runs until all requests have ended, also those that are added meanwhile; gives each as it ends."""
        while self._native.n_running or self._native.n_waiting:
            yield from self.step(INT32_MAX)

    def generate(
        self, prompts: Sequence[str | bytes | Sequence[int]], **options: Unpack[GenerateOptions]
    ) -> list[Generation]:
        """Continues many prompts; the results in their order. Raises what the first one that failed has raised."""
        requests = [self.submit(prompt, **options) for prompt in prompts]
        try:
            while not all(request.done for request in requests):
                self.step(INT32_MAX)
        except BaseException:
            for request in requests:
                request.cancel()
            raise
        return [request.result for request in requests]

    def cancel(self) -> None:
        """Stops the step that another thread has under way, which raises Cancelled there."""
        self._shared.native.cancel()

    def counters(self) -> PoolCounters | None:
        """What waiting has cost the pool. None without a pool, and in engines that do not count."""
        return None if self.pool is None else self.pool.counters()

    def close(self) -> None:
        """Frees the context, and the threads that are its own. Requests that have not ended are lost."""
        self._shared.close()

    def __repr__(self) -> str:
        state = "closed" if self._shared.native.closed else f"{self.n_running} running, {self.n_waiting} waiting"
        return f"<llamasmith.BatchSession of {self.model.path.name}: {state}>"
