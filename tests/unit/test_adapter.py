"""LoRA adapters and control vectors: several at once, scaled, taken off again."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from contexts import MakeContext, after
from lora_file import write_lora

from llamasmith import Model, Session
from llamasmith._native import _core
from llamasmith.errors import InvalidModel, InvalidOption, ModelNotFound

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = [1, 70, 75]


@pytest.fixture
def adapters(tiny: Model, tmp_path: Path) -> list[Any]:
    return [tiny.load_adapter(write_lora(tmp_path / f"{seed}.gguf", seed=seed)) for seed in (1, 2)]


def test_adapters_are_applied_scaled_and_taken_off(make_context: MakeContext, adapters: list[Any]) -> None:
    context = make_context()

    def logits(*given: tuple[Any, float]) -> Any:
        context.memory_clear(data=True)
        context.set_adapters(list(given))
        return after(context, TOKENS)

    one, two = adapters
    plain = logits()
    first = logits((one, 1.0))
    assert not np.allclose(first, plain)
    assert np.allclose(logits((one, 0.0)), plain)
    assert not np.allclose(logits((one, 0.5)), first)
    both = logits((one, 1.0), (two, 1.0))
    assert not np.allclose(both, first)
    assert np.allclose(logits((two, 1.0), (one, 1.0)), both, atol=1e-4)
    assert np.allclose(logits((one, 1.0)), first)  # swapped back
    assert np.allclose(logits(), plain)


def test_metadata(adapters: list[Any]) -> None:
    assert adapters[0].metadata["general.name"] == "mine"
    assert adapters[0].metadata["general.architecture"] == "llama"
    assert adapters[0].invocation_tokens == ()


def test_a_session_has_adapters_of_its_own(tiny: Model, adapters: list[Any]) -> None:
    with Session(tiny, n_ctx=256) as one, Session(tiny, n_ctx=256) as two:
        one.set_adapters({adapters[0]: 1.0})
        assert not np.allclose(one.decode(TOKENS), two.decode(TOKENS))
        one.set_adapters()
        two.reset()
        one.reset()
        assert np.allclose(one.decode(TOKENS), two.decode(TOKENS))


def test_lifetimes_in_any_order(tiny_path: Path, tmp_path: Path) -> None:
    model = Model(tiny_path)
    adapter = model.load_adapter(write_lora(tmp_path / "a.gguf", seed=1))
    session = Session(model, n_ctx=256)
    session.set_adapters({adapter: 1.0})
    expected = session.decode(TOKENS)
    del adapter
    model.close()
    gc.collect()
    session.reset()
    assert np.allclose(session.decode(TOKENS), expected)
    session.close()
    adapter = Model(tiny_path).load_adapter(tmp_path / "a.gguf")
    gc.collect()
    assert adapter.metadata


def test_adapters_that_are_wrong(tiny: Model, tiny_path: Path, tmp_path: Path, adapters: list[Any]) -> None:
    with pytest.raises(ModelNotFound):
        tiny.load_adapter(tmp_path / "absent.gguf")
    with pytest.raises(InvalidModel, match="as a LoRA adapter"):
        tiny.load_adapter(tiny_path)  # a model
    for changes in ({"arch": "qwen2"}, {"general_type": "model"}, {"name": "blk.7.attn_q.weight"}, {"width": 32}):
        path = write_lora(tmp_path / "bad.gguf", seed=1, **changes)  # type: ignore[arg-type]
        with pytest.raises(InvalidModel, match="as a LoRA adapter"):
            tiny.load_adapter(path)
    whole = (tmp_path / "1.gguf").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidModel):
        tiny.load_adapter(path)
    with Session(tiny, n_ctx=256) as session:
        for scale in (float("nan"), float("inf")):
            with pytest.raises(InvalidOption, match="scale"):
                session.set_adapters({adapters[0]: scale})
        with pytest.raises(InvalidOption, match="twice"):
            session._context.set_adapters([(adapters[0], 1.0), (adapters[0], 1.0)])
        other = Model(tiny_path)
        with Session(other, n_ctx=256) as foreign, pytest.raises(InvalidOption, match="another model"):
            foreign.set_adapters({adapters[0]: 1.0})
        assert np.isfinite(session.decode(TOKENS)).all()
    with Model(tiny_path, vocab_only=True) as words, pytest.raises(InvalidOption, match="without its weights"):
        words.load_adapter(tmp_path / "1.gguf")


def write_vector(path: Path, **tensors: Any) -> Path:
    import gguf

    writer = gguf.GGUFWriter(str(path), "controlvector")
    for name, values in tensors.items():
        writer.add_tensor(name.replace("_", "."), np.asarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_control_vectors(tiny: Model, tmp_path: Path) -> None:
    data = _core.read_control_vector(str(write_vector(tmp_path / "v.gguf", direction_1=np.full(64, 0.5))))
    assert data.shape == (1, 64)
    assert data.dtype == np.float32
    with Session(tiny, n_ctx=256) as session:
        plain = session.decode(TOKENS)
        session.set_control_vector(data)
        session.reset()
        assert not np.allclose(session.decode(TOKENS), plain)
        session.set_control_vector(None)
        session.reset()
        assert np.allclose(session.decode(TOKENS), plain)
        nan = data.copy()
        nan[0, 0] = np.nan
        for bad, message in [
            (data[0], "dimensions"),
            (data[:, :5], "shape"),
            (np.zeros((9, 64)), "shape"),
            (nan, "nan"),
        ]:
            with pytest.raises(InvalidOption, match=message):
                session.set_control_vector(bad)
        for first, last in ((0, 1), (1, 2), (1, 0), (2**40, None)):
            with pytest.raises(InvalidOption, match="layer"):
                session.set_control_vector(data, first_layer=first, last_layer=last)


def test_files_that_are_no_control_vector(tiny_path: Path, tmp_path: Path) -> None:
    for name, tensors in {
        "zero": {"direction_0": [1.0]},
        "word": {"direction_x": [1.0]},
        "none": {"other": [1.0]},
    }.items():
        with pytest.raises(InvalidModel):
            _core.read_control_vector(str(write_vector(tmp_path / f"{name}.gguf", **tensors)))
    with pytest.raises(InvalidModel, match="as wide"):
        _core.read_control_vector(str(write_vector(tmp_path / "w.gguf", direction_1=[1.0], direction_2=[1.0, 2.0])))
    with pytest.raises(InvalidModel, match="finite"):
        _core.read_control_vector(str(write_vector(tmp_path / "n.gguf", direction_1=[float("nan")])))
    with pytest.raises(InvalidModel, match="no tensor"):
        _core.read_control_vector(str(tiny_path))
