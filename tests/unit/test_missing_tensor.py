"""A file without a tensor that upstream's loader calls optional, and the graph of its architecture computes with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import small_models

from llamasmith import Model, Session
from llamasmith.errors import InvalidModel

if TYPE_CHECKING:
    from pathlib import Path

OPTIONAL = ("blk.0.attn_qkv.weight", "blk.0.attn_gate.weight")  # for the loader of this pin


def use(path: Path, without: str | None = None) -> int:
    file = small_models.qwen35()
    path.write_bytes(replace(file, tensors=tuple(t for t in file.tensors if t.name != without)).content())
    with Model(path) as model, Session(model, n_ctx=64, n_threads=1) as session:
        return session.decode([1, 5]).size


def test_the_whole_model_computes(tmp_path: Path) -> None:
    assert use(tmp_path / "model.gguf") > 256


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_only_the_graph_asks_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidModel, match=r"model\.gguf lacks a tensor .*'qwen35'[\s\S]*GGML_ASSERT"):
        use(tmp_path / "model.gguf", name)


@pytest.mark.parametrize("name", sorted({str(t.name) for t in small_models.qwen35().tensors} - set(OPTIONAL)))
def test_what_the_loader_asks_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidModel, match=r"not found|missing tensor"):
        use(tmp_path / "model.gguf", name)
