from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llamasmith import Model
from llamasmith.errors import InvalidModel, InvalidOption, ModelNotFound, SessionClosed

if TYPE_CHECKING:
    from pathlib import Path


def test_describes_itself(tiny: Any) -> None:
    assert tiny.n_vocab == 267
    assert tiny.n_ctx_train == 512
    assert (tiny.n_embd, tiny.n_layer) == (64, 2)
    assert tiny.metadata["general.architecture"] == "llama"
    assert (tiny.token_bos, tiny.token_eos) == (1, 2)
    assert tiny.size > 0
    assert tiny.n_params > 0
    assert "tiny.gguf" in repr(tiny)


@pytest.mark.parametrize("text", ["hello world", "a b c", "käse", "日本語", "emoji 🙂 end", "", "nul\0inside", "\n\t "])
def test_text_survives_the_way_to_tokens_and_back(tiny: Any, text: str) -> None:
    tokens = tiny.tokenize(text, add_special=False)
    back = tiny.detokenize(tokens)
    assert back.removeprefix(" ") == text.removeprefix(" ")


def test_special_tokens_only_when_asked_for(tiny: Any) -> None:
    assert tiny.tokenize("a")[0] == tiny.token_bos
    assert tiny.tokenize("a", add_special=False)[0] != tiny.token_bos
    assert tiny.token_eos not in tiny.tokenize("</s>", add_special=False)
    assert tiny.tokenize("</s>", add_special=False, parse_special=True)[-1] == tiny.token_eos
    assert tiny.detokenize([tiny.token_eos]) == ""
    assert "</s>" in tiny.detokenize([tiny.token_eos], unparse_special=True)


def test_bytes_and_arrays_are_welcome(tiny: Any) -> None:
    assert tiny.tokenize("käse".encode()) == tiny.tokenize("käse")
    assert tiny.detokenize(np.array(tiny.tokenize("abc"), dtype=np.int64)).endswith("abc")


def test_half_a_character_becomes_a_replacement(tiny: Any) -> None:
    first_byte_of_two = tiny.tokenize("ä", add_special=False)[-2:-1]
    assert "\ufffd" in tiny.detokenize(first_byte_of_two)


def test_vocab_only_tokenises_but_does_not_run(tiny_path: Path) -> None:
    from llamasmith import Session

    with Model(tiny_path, vocab_only=True) as model:
        assert model.tokenize("hello")
        with pytest.raises(InvalidOption, match="vocab_only"):
            Session(model)


def test_progress_is_told_and_its_exception_stops_the_loading(tiny_path: Path) -> None:
    seen: list[float] = []
    Model(tiny_path, progress=seen.append).close()
    assert seen[-1] == 1.0

    def refuse(fraction: float) -> None:
        raise RuntimeError(f"enough at {fraction}")

    with pytest.raises(RuntimeError, match="enough"):
        Model(tiny_path, progress=refuse)


def test_a_closed_model_says_so(tiny_path: Path) -> None:
    model = Model(tiny_path)
    model.close()
    model.close()
    with pytest.raises(SessionClosed):
        model.tokenize("a")
    assert "closed" in repr(model)


def test_sessions_keep_the_weights_of_a_closed_model(tiny_path: Path) -> None:
    from llamasmith import Session

    model = Model(tiny_path)
    with Session(model, n_ctx=64, n_threads=1) as session:
        model.close()
        assert session.decode([1, 2, 3]).shape == (267,)


def test_log_of_llama_cpp_reaches_logging(tiny_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="llamasmith.llama_cpp"):
        Model(tiny_path).close()
    assert any("general.architecture" in record.getMessage() for record in caplog.records)


def test_bytes_that_one_token_needs(tiny_path: Path, tmp_path: Path) -> None:
    with Model(tiny_path) as model:
        embedding = 267 * 64 * 4  # float32; the output has a table of its own, so one row of this one is read
        assert model.bytes_per_token == model.size - embedding + 64 * 4
    path = tmp_path / "moved.gguf"
    path.write_bytes(tiny_path.read_bytes())
    with Model(path) as model:
        path.unlink()
        with pytest.raises(ModelNotFound):
            _ = model.bytes_per_token
    path.write_bytes(tiny_path.read_bytes())
    with Model(path, load_mode="none") as model:
        path.write_bytes(b"GGUF")
        with pytest.raises(InvalidModel):
            _ = model.bytes_per_token


@pytest.mark.model
def test_bytes_per_token_of_a_model_whose_output_is_its_embedding(smollm2: Model) -> None:
    assert smollm2.bytes_per_token == smollm2.size
