"""Texts as vectors, and how well texts answer a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np

from ._check import INT32_MAX, integer, one_of, utf8
from ._closing import Closing
from ._context import SharedContext
from ._native import _core
from .errors import ContextFull, InvalidOption
from .generation import prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from typing_extensions import Unpack

    from .model import Model
    from .options import ContextOptions

__all__ = ["Embedder", "Reranker"]

POOLING = ("unspecified", "mean", "cls", "last")
MAX_TEXTS = 64  # in one batch


class _Pooled(Closing):
    """A context that evaluates many texts together and pools each into one row."""

    def __init__(self, model: Model, pooling_type: str, n_ctx: int, truncate: bool, options: ContextOptions) -> None:
        self.model = model
        self._truncate = truncate
        n = integer("n_ctx", n_ctx, 1, INT32_MAX)
        # A text is pooled over one graph, so the longest one must fit into it.
        sized: ContextOptions = {**options, "n_batch": n, "n_ubatch": n}
        self._shared = SharedContext(
            model,
            sized,
            type(self).__name__,
            n_ctx=n,
            n_seq_max=MAX_TEXTS,
            n_outputs_max=n,
            kv_unified=True,
            embeddings=True,
            pooling_type=pooling_type,
        )
        self._context = self._shared.native
        self._batch = _core.Batch(self._context)

    def _rows(self, texts: list[list[int]]) -> list[npt.NDArray[np.float32]]:
        room = self._context.n_ubatch
        rows: list[npt.NDArray[np.float32]] = []
        while len(rows) < len(texts):
            part: list[list[int]] = []
            for tokens in texts[len(rows) : len(rows) + MAX_TEXTS]:
                if sum(map(len, part)) + len(tokens) > room:
                    break
                part.append(tokens)
            rows += self._evaluate(part)
        return rows

    def _evaluate(self, texts: list[list[int]]) -> list[npt.NDArray[np.float32]]:
        self._batch.clear()
        for seq_id, tokens in enumerate(texts):
            self._batch.extend(tokens, pos=0, seq_id=seq_id, every_output=True)
        if self._context.has_memory:
            self._context.memory_clear(data=False)
        self._context.process(self._batch, encode=self.model.facts["has_encoder"])
        return [self._context.pooled_embedding(seq_id) for seq_id in range(len(texts))]

    def _fit(self, index: int, tokens: list[int]) -> list[int]:
        room = self._context.n_ubatch
        if not tokens:
            raise InvalidOption(f"Text {index} has no tokens: give at least one character.")
        if len(tokens) > room and not self._truncate:
            raise ContextFull(
                f"Text {index} has {len(tokens)} tokens, there is room for {room} (n_ctx). Shorten it, give a larger "
                f"n_ctx, or truncate=True to leave out what is too much."
            )
        return tokens[:room]

    def cancel(self) -> None:
        """Stops the call that another thread has under way, which raises Cancelled there."""
        self._context.cancel()

    def close(self) -> None:
        """Frees the context and its threads. Closing twice is allowed."""
        self._shared.close()

    def __repr__(self) -> str:
        state = "closed" if self._context.closed else f"room for {self._context.n_ubatch} tokens"
        return f"<llamasmith.{type(self).__name__} of {self.model.path.name}: {state}>"


def _room(model: Model, n_ctx: int | None) -> int:
    return min(model.n_ctx_train or 512, 2048) if n_ctx is None else n_ctx


class Embedder(_Pooled):
    """Makes vectors of texts. One thread at a time may use it.

    Args:
        model: an embedding model, or any other.
        pooling: how the vectors of a text's tokens become one: ``mean``, ``cls`` (the first), ``last``, or
            ``unspecified``: as the model says, and ``mean`` if it says nothing.
        n_ctx: room for the tokens of one text, by default what the model was trained with, at most 2048.
        truncate: leave out the end of a text that is too long, instead of raising ContextFull.
        options: see `ContextOptions`; `n_batch` and `n_ubatch` are `n_ctx`.

    Raises InvalidOption, NotEnoughMemory, SessionClosed (closed model).
    """

    def __init__(
        self,
        model: Model,
        *,
        pooling: str = "unspecified",
        n_ctx: int | None = None,
        truncate: bool = False,
        **options: Unpack[ContextOptions],
    ) -> None:
        one_of("pooling", pooling, POOLING)
        if (
            pooling == "unspecified"
            and f"{model.metadata.get('general.architecture')}.pooling_type" not in model.metadata
        ):
            pooling = "mean"
        super().__init__(model, pooling, _room(model, n_ctx), truncate, options)
        if self._context.pooling_type not in POOLING:
            kind = self._context.pooling_type
            self.close()
            raise InvalidOption(
                f"{model.path.name} pools by {kind!r}, which gives no vectors of texts. Give pooling='mean', or use a "
                f"Reranker for a model that ranks."
            )

    @overload
    def embed(self, texts: str | bytes, *, normalize: bool = True) -> npt.NDArray[np.float32]: ...
    @overload
    def embed(self, texts: Sequence[str | bytes], *, normalize: bool = True) -> npt.NDArray[np.float32]: ...

    def embed(self, texts: str | bytes | Sequence[str | bytes], *, normalize: bool = True) -> npt.NDArray[np.float32]:
        """Vectors of texts: shape ``(len(texts), n_embd)``, of one text ``(n_embd,)``; float32.

        With `normalize` each has the length 1, so that a dot product is the cosine. Texts are evaluated together, as
        many as fit into `n_ctx` tokens. Raises InvalidOption (nothing to embed), ContextFull, DecodeFailed.
        """
        one = isinstance(texts, (str, bytes))
        given: list[str | bytes] = [texts] if isinstance(texts, (str, bytes)) else list(texts)
        if not given:
            raise InvalidOption("There are no texts to embed: give at least one.")
        tokens = [
            self._fit(i, prompt_tokens(self.model, text, add_special=True, parse_special=False))
            for i, text in enumerate(given)
        ]
        rows = np.stack(self._rows(tokens))
        if normalize:
            lengths = np.linalg.norm(rows, axis=1, keepdims=True)
            rows /= np.where(lengths > 0, lengths, 1)
        return rows[0] if one else rows


class Reranker(_Pooled):
    """Says how well documents answer a query, by a model made for that (with a classifier head: ``pooling_type`` rank).

    Args:
        model: a reranking model, such as bge-reranker or jina-reranker.
        n_ctx: room for the tokens of a query and a document together, by default what the model was trained
            with, at most 2048.
        truncate: leave out the end of a document that is too long, instead of raising ContextFull.
        options: see `ContextOptions`; `n_batch` and `n_ubatch` are `n_ctx`.

    Raises InvalidOption for a model that does not rank.
    """

    def __init__(
        self, model: Model, *, n_ctx: int | None = None, truncate: bool = False, **options: Unpack[ContextOptions]
    ) -> None:
        architecture = model.metadata.get("general.architecture")
        if model.metadata.get(f"{architecture}.pooling_type") != "4":  # LLAMA_POOLING_TYPE_RANK
            raise InvalidOption(
                f"{model.path.name} does not rank: it has no classifier ({architecture}.pooling_type is not 4). Take a "
                f"reranking model, or compare the vectors of an Embedder."
            )
        super().__init__(model, "rank", _room(model, n_ctx), truncate, options)

    def rerank(self, query: str | bytes, documents: Sequence[str | bytes]) -> npt.NDArray[np.float32]:
        """How well each document answers the query: shape ``(len(documents),)``, larger is better; no probabilities.

        Raises InvalidOption (no documents), ContextFull, DecodeFailed.
        """
        if isinstance(documents, (str, bytes)):
            raise TypeError("documents must be a list of texts, not one text.")
        if not documents:
            raise InvalidOption("There are no documents to rank: give at least one.")
        pair = self._pair(query)
        rows = self._rows([self._fit(i, pair(document)) for i, document in enumerate(documents)])
        return np.array([row[0] for row in rows], dtype=np.float32)

    def _pair(self, query: str | bytes) -> Callable[[str | bytes], list[int]]:
        """How the model wants query and document: by its template, or as BERT has it: [bos] q [eos] [sep] d [eos]."""
        template = self.model.chat_template("rerank")
        text = utf8(query, "query")

        def by_template(document: str | bytes) -> list[int]:
            filled = (template or "").replace("{query}", text).replace("{document}", utf8(document, "document"))
            return self.model.tokenize(filled, add_special=False, parse_special=True)

        vocab, special = self.model.vocab, self.model.vocab.special
        begin = [special["bos"]] if vocab.add_bos and "bos" in special else []
        end = [special["eos"]] if vocab.add_eos and "eos" in special else []
        between = [special["sep"]] if vocab.add_sep and "sep" in special else []
        head = [*begin, *self.model.tokenize(query, add_special=False), *end, *between]

        def by_tokens(document: str | bytes) -> list[int]:
            return [*head, *self.model.tokenize(document, add_special=False), *end]

        return by_template if template else by_tokens
