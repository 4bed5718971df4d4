"""Quantising: all types, overrides, importance, progress, stopping; and files that must not be touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llamasmith import Model, Session, quantize
from llamasmith.errors import InvalidModel, InvalidOption, LlamaError, ModelNotFound
from llamasmith.quantize import quantize_types, read_imatrix

if TYPE_CHECKING:
    from pathlib import Path


def test_every_type(tiny_path: Path, tmp_path: Path) -> None:
    """The tiny model's rows are too short for some; those fall back. Others refuse, or need importance."""
    refused: dict[str, str] = {}
    for kind in quantize_types():
        target = tmp_path / f"{kind}.gguf"
        try:
            quantize(tiny_path, target, kind, n_threads=2)
        except InvalidModel as error:
            refused[kind] = str(error)
            assert not target.exists()
            continue
        with Model(target, vocab_only=True) as model:
            assert model.n_vocab == 267
    assert all("imatrix" in why or "not divisible" in why for why in refused.values()), refused
    assert len(refused) < len(quantize_types()) / 2
    assert not list(tmp_path.glob("*.part"))


def test_the_result_runs(tiny_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "q8.gguf"
    result = quantize(tiny_path, target, "Q8_0")
    assert result.mib_after < 0.4 * result.mib_before
    with Model(target) as model, Session(model, n_ctx=256) as session:
        assert model.facts["ftype"].startswith("Q8_0")
        assert np.isfinite(session.decode([1, 70])).all()


def test_types_of_single_tensors_and_metadata(tiny_path: Path, tmp_path: Path) -> None:
    from gguf import GGUFReader

    target = tmp_path / "mixed.gguf"
    quantize(
        tiny_path,
        target,
        "Q8_0",
        tensor_types={"blk\\.0\\.ffn_down": "q4_0"},
        token_embedding_type="f16",
        quantize_output_tensor=False,
        kv_overrides={"general.name": "smaller", "x.answer": 42},
    )
    types = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(target).tensors}
    assert types["blk.0.ffn_down.weight"] == "Q4_0"
    assert types["blk.1.ffn_down.weight"] == "Q8_0"
    assert types["token_embd.weight"] == "F16"
    assert types["output.weight"] == "F32"
    with Model(target, vocab_only=True) as model:
        assert model.metadata["general.name"] == "smaller"
        assert model.metadata["x.answer"] == "42"


def test_a_dry_run_writes_nothing(tiny_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "none.gguf"
    dry = quantize(tiny_path, target, "Q4_0", dry_run=True)
    assert not list(tmp_path.iterdir())
    assert quantize(tiny_path, target, "Q4_0") == dry


def test_progress_and_stopping(tiny_path: Path, tmp_path: Path) -> None:
    seen: list[float] = []
    quantize(tiny_path, tmp_path / "a.gguf", "Q4_0", progress=seen.append)
    assert all(0 <= fraction <= 1 for fraction in seen)

    class Enough(Exception):
        pass

    def stop(fraction: float) -> None:
        raise Enough

    import time

    def slow_stop(fraction: float) -> None:
        time.sleep(0.06)  # asked at most 20 times a second
        stop(fraction)

    target = tmp_path / "b.gguf"
    target.write_bytes(b"before")
    outcome = None
    try:
        quantize(tiny_path, target, "Q4_0", progress=slow_stop, n_threads=1)
    except Enough:
        outcome = "stopped"
    if outcome == "stopped":
        assert target.read_bytes() == b"before"
        assert not (tmp_path / "b.gguf.part").exists()
    quantize(tiny_path, target, "Q4_0")
    assert target.read_bytes()[:4] == b"GGUF"


def test_stopping_in_the_midst(smollm2_path: Path, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    seen: list[float] = []

    def stop(fraction: float) -> None:
        seen.append(fraction)
        if fraction > 0.05:
            raise Enough

    target = tmp_path / "q.gguf"
    with pytest.raises(Enough):
        quantize(smollm2_path, target, "Q8_0", allow_requantize=True, progress=stop)
    assert seen
    assert seen[-1] < 0.9
    assert not list(tmp_path.iterdir())


def write_imatrix(path: Path, tiny_path: Path) -> Path:
    import gguf
    from gguf import GGUFReader

    writer = gguf.GGUFWriter(str(path), "imatrix")
    writer.add_string("general.type", "imatrix")
    for tensor in GGUFReader(tiny_path).tensors:
        if len(tensor.shape) == 2:
            width = int(tensor.shape[0])
            writer.add_tensor(f"{tensor.name}.in_sum2", np.full((1, width), 8.0, np.float32))
            writer.add_tensor(f"{tensor.name}.counts", np.full((1, 1), 4.0, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_importance(tiny_path: Path, tmp_path: Path) -> None:
    imatrix = read_imatrix(write_imatrix(tmp_path / "imatrix.gguf", tiny_path))
    assert set(imatrix) >= {"blk.0.attn_q.weight", "output.weight"}
    assert imatrix["blk.0.attn_q.weight"].shape == (64,)
    assert set(imatrix["blk.0.attn_q.weight"]) == {2.0}
    quantize(tiny_path, tmp_path / "a.gguf", "Q4_0", imatrix=imatrix)
    quantize(tiny_path, tmp_path / "b.gguf", "Q4_0")
    assert (tmp_path / "a.gguf").read_bytes() != (tmp_path / "b.gguf").read_bytes()
    bad = {**imatrix, "blk.0.attn_q.weight": np.full(64, np.nan, np.float32)}
    with pytest.raises(InvalidOption, match="finite"):
        quantize(tiny_path, tmp_path / "c.gguf", "Q4_0", imatrix=bad)
    with pytest.raises(InvalidModel, match="size"):
        quantize(tiny_path, tmp_path / "c.gguf", "Q4_0", imatrix={"blk.0.attn_q.weight": np.ones(3, np.float32)})
    with pytest.raises(InvalidModel, match="no importance matrix"):
        read_imatrix(tiny_path)
    with pytest.raises(ModelNotFound):
        read_imatrix(tmp_path / "absent")


def test_layers_left_out(tiny_path: Path, tmp_path: Path) -> None:
    quantize(tiny_path, tmp_path / "a.gguf", "COPY", prune_layers=[1])
    with Model(tmp_path / "a.gguf") as model:
        assert model.n_layer == 1
    with pytest.raises(InvalidOption, match="together"):
        quantize(tiny_path, tmp_path / "b.gguf", "Q4_0", prune_layers=[1], imatrix={"x": np.ones(3, np.float32)})


def test_the_source_is_never_overwritten(tiny_path: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.gguf"
    source.write_bytes(tiny_path.read_bytes())
    before = source.read_bytes()
    os.link(source, tmp_path / "hard.gguf")
    (tmp_path / "soft.gguf").symlink_to(source)
    for target in (source, tmp_path / "hard.gguf", tmp_path / "soft.gguf", tmp_path / "." / "source.gguf"):
        with pytest.raises(InvalidOption, match="Give another"):
            quantize(source, target, "Q8_0")
    assert source.read_bytes() == before


def test_what_is_wrong(tiny_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "q.gguf"
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"type": "Q4_Z"}, InvalidOption, "Allowed: F32, F16"),
        ({"n_threads": 0}, InvalidOption, "n_threads is 0"),
        ({"n_threads": 10**6}, InvalidOption, "n_threads"),
        ({"tensor_types": {"(": "q4_0"}}, InvalidOption, "no regular expression"),
        ({"tensor_types": {"": "q4_0"}}, InvalidOption, "0 bytes"),
        ({"tensor_types": {"x": "q8_1"}}, InvalidOption, "q8_1"),
        ({"tensor_types": {"x": "i8"}}, InvalidOption, "i8"),
        ({"output_tensor_type": "q8_k"}, InvalidOption, "output_tensor_type is 'q8_k'"),
        ({"kv_overrides": {"": 1}}, InvalidOption, "empty"),
        ({"kv_overrides": {"k" * 200: 1}}, InvalidOption, "127"),
        ({"kv_overrides": {"k": "v" * 200}}, InvalidOption, "127"),
        ({"kv_overrides": {"k": 2**70}}, InvalidOption, "k is"),
        ({"prune_layers": [-1]}, InvalidOption, "prune_layers is -1"),
        ({"src": tmp_path / "absent"}, ModelNotFound, "No model at"),
        ({"src": __file__}, InvalidModel, "GGUF"),
        ({"dst": tmp_path / "no" / "folder"}, LlamaError, "no/folder|quantised"),
        ({"dst": "a\0b"}, InvalidOption, "NUL"),
    ]
    for changes, error, message in cases:
        given: dict[str, Any] = {"src": tiny_path, "dst": target, "type": "Q4_0", **changes}
        with pytest.raises(error, match=message):
            quantize(given.pop("src"), given.pop("dst"), given.pop("type"), **given)
    assert not list(tmp_path.iterdir())
    quantize(tiny_path, target, "Q4_0")
    with pytest.raises(InvalidModel, match="requantiz"):
        quantize(target, tmp_path / "r.gguf", "Q8_0")
    quantize(target, tmp_path / "r.gguf", "Q8_0", allow_requantize=True)
