"""Vectors of texts, and documents in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiny_bert import write_tiny_bert

from llamasmith import Embedder, Model, Reranker
from llamasmith.errors import ContextFull, InvalidOption, SessionClosed

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = ["hello world", "a cat", "the dog runs.", "hello", "the cat runs?", "world"]


@pytest.fixture(scope="module", params=["mean", "cls"])
def encoder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = tmp_path_factory.mktemp("bert") / "bert.gguf"
    with Model(write_tiny_bert(path, request.param)) as model:
        yield model


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Model(write_tiny_bert(tmp_path_factory.mktemp("rank") / "rank.gguf", "rank")) as model:
        yield model


def test_together_as_alone(encoder: Any) -> None:
    with Embedder(encoder, n_threads=1) as embedder:
        rows = embedder.embed(TEXTS)
        assert rows.shape == (len(TEXTS), 32)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
        for text, row in zip(TEXTS, rows, strict=True):
            alone = embedder.embed(text)
            assert alone.shape == (32,)
            np.testing.assert_allclose(alone, row, atol=1e-4)
        raw = embedder.embed(TEXTS, normalize=False)
        np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), rows, atol=1e-5)
        assert np.abs(rows[0] - rows[1]).max() > 0.01


def test_more_texts_than_fit_at_once(encoder: Any) -> None:
    many = TEXTS * 30
    with Embedder(encoder, n_threads=1) as embedder:
        rows = embedder.embed(many)
        assert rows.shape == (180, 32)
        np.testing.assert_allclose(rows[-6:], rows[:6], atol=1e-4)


def test_decoders_embed_too(tiny: Any) -> None:
    for pooling in ("unspecified", "mean", "last"):
        with Embedder(tiny, pooling=pooling, n_ctx=128, n_threads=1) as embedder:
            rows = embedder.embed(["hello world", "a b c", "hello world"])
            np.testing.assert_allclose(rows[0], rows[2], atol=1e-4)
            assert np.abs(rows[0] - rows[1]).max() > 0.01
            np.testing.assert_allclose(embedder.embed("a b c"), rows[1], atol=1e-3)


def test_long_texts_are_refused_or_cut(encoder: Any) -> None:
    refused = pytest.raises(ContextFull, match=r"Text 1 has \d+ tokens, there is room for 64")
    with Embedder(encoder, n_threads=1) as embedder, refused:
        embedder.embed(["hello", "hello " * 100])
    with Embedder(encoder, n_threads=1, truncate=True) as embedder:
        np.testing.assert_allclose(embedder.embed("hello " * 100), embedder.embed("hello " * 90), atol=1e-5)


def test_bad_input(encoder: Any, tiny: Any) -> None:
    with Embedder(encoder, n_threads=1) as embedder:
        with pytest.raises(InvalidOption, match="no texts"):
            embedder.embed([])
        with pytest.raises(InvalidOption, match="surrogate"):
            embedder.embed("\ud800")
    with pytest.raises(SessionClosed):
        embedder.embed("hello")
    with pytest.raises(InvalidOption, match="pooling is 'max'"):
        Embedder(tiny, pooling="max")
    with pytest.raises(InvalidOption, match="does not rank"):
        Reranker(tiny)


def test_ranks_are_those_of_pairs(ranker: Any) -> None:
    with Reranker(ranker, n_threads=1) as reranker:
        scores = reranker.rerank("hello", TEXTS)
        assert scores.shape == (len(TEXTS),)
        assert len(set(scores.tolist())) == len(TEXTS)
        for text, score in zip(TEXTS, scores, strict=True):
            np.testing.assert_allclose(reranker.rerank("hello", [text]), [score], rtol=1e-3, atol=1e-4)
        assert np.abs(reranker.rerank("a dog", TEXTS) - scores).max() > 1e-4
        with pytest.raises(InvalidOption, match="no documents"):
            reranker.rerank("hello", [])
        with pytest.raises(TypeError, match="list of texts"):
            reranker.rerank("hello", "world")
    with pytest.raises(InvalidOption, match="Reranker"):
        Embedder(ranker, n_threads=1)
