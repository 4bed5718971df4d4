"""Options of loading, and what a model and its vocabulary tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from contexts import outcome

from llamasmith import Model, Session
from llamasmith._native import _core
from llamasmith.errors import InvalidModel, InvalidOption, ModelNotFound, SessionClosed

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = [1, 70, 75, 80]


def logits(path: Path, **options: Any) -> Any:
    with Model(path, **options) as model, Session(model, n_ctx=256, n_threads=1) as session:
        return session.decode(TOKENS)


@pytest.mark.parametrize(
    "options",
    [
        {"split_mode": "none"},
        {"split_mode": "row"},
        {"devices": []},
        {"tensor_split": [1, 2.5]},
        {"placement": {"ffn_.*": "CPU"}},
        {"lazy_mode": "off"},
        {"lazy_mode": "on", "load_mode": "mmap"},
        {"load_mode": "none"},
        {"load_mode": "mmap+mlock"},
        {"no_host": True},
        {"load_mtp": False},
        {"use_extra_bufts": False},
        {"n_gpu_layers": 0, "main_gpu": 0},
        {"kv_overrides": {"general.name": "other", "x.int": 3, "x.float": 0.5, "x.bool": True}},
    ],
    ids=str,
)
def test_where_weights_lie_does_not_change_what_they_say(tiny_path: Path, options: dict[str, Any]) -> None:
    assert np.allclose(logits(tiny_path, **options), logits(tiny_path), atol=1e-4)


def test_metadata_overrides_count(tiny_path: Path) -> None:
    assert not np.allclose(
        logits(tiny_path, kv_overrides={"llama.attention.layer_norm_rms_epsilon": 3.0}), logits(tiny_path)
    )
    with Model(tiny_path, vocab_only=True, kv_overrides={"tokenizer.ggml.add_bos_token": False}) as model:
        assert not model.vocab.add_bos
        assert model.tokenize("a") == model.tokenize("a", add_special=False)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"split_mode": "diagonal"}, InvalidOption, "Allowed: none, layer, row, tensor"),
    ({"lazy_mode": "very"}, InvalidOption, "Allowed: off, auto, on"),
    ({"main_gpu": -2}, InvalidOption, "main_gpu is -2"),
    ({"main_gpu": 99}, InvalidOption, "main_gpu is 99"),
    ({"tensor_split": [1.0] * 17}, InvalidOption, "tensor_split is 17"),
    ({"tensor_split": [-1.0]}, InvalidOption, "tensor_split is -1"),
    ({"tensor_split": [float("nan")]}, InvalidOption, "tensor_split is nan"),
    ({"tensor_split": ["x"]}, TypeError, "must be a number"),
    ({"devices": ["CUDA7"]}, InvalidOption, "no device 'CUDA7'"),
    ({"devices": ["CPU"]}, InvalidOption, "no device 'CPU'"),
    ({"devices": "CPU"}, TypeError, "list of names"),
    ({"placement": {"x": "Moon"}}, InvalidOption, "no device or buffer type 'Moon'.*CPU"),
    ({"placement": {"(": "CPU"}}, InvalidOption, "no regular expression"),
    ({"placement": {"": "CPU"}}, InvalidOption, "0 bytes"),
    ({"placement": {"(" * 400 + ")" * 400: "CPU"}}, InvalidOption, "800 bytes"),
    ({"placement": {str(i): "CPU" for i in range(5000)}}, InvalidOption, "patterns in placement is 5000"),
    ({"kv_overrides": {"k" * 128: 1}}, InvalidOption, "at most 127"),
    ({"kv_overrides": {"k": "v" * 128}}, InvalidOption, "at most 127"),
    ({"kv_overrides": {"": 1}}, InvalidOption, "empty"),
    ({"kv_overrides": {"k": 2**63}}, InvalidOption, "k is 9223372036854775808"),
    ({"kv_overrides": {"k": None}}, TypeError, "must be an int"),
    ({"kv_overrides": {"k": "a\0b"}}, InvalidOption, "NUL"),
    ({"no_alloc": True, "vocab_only": True}, InvalidOption, "exclude each other"),
    ({"placement": {"ffn": "CPU"}, "n_gpu_layers": 2**31}, InvalidOption, "n_gpu_layers"),
]


@pytest.mark.parametrize("index", range(len(WRONG)))
def test_options_that_are_wrong(tiny_path: Path, index: int) -> None:
    options, error, message = WRONG[index]
    with pytest.raises(error, match=message):
        Model(tiny_path, **options)


def test_overrides_that_would_break_the_model_do_not_end_the_interpreter(tiny_path: Path) -> None:
    keys = ["block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "feed_forward_length",
            "context_length", "rope.dimension_count", "expert_count", "expert_used_count", "expert_group_count",
            "nextn_predict_layers", "vocab_size", "attention.key_length", "attention.value_length",
            "attention.sliding_window"]  # fmt: skip
    outcomes = set()
    for key in keys:
        for value in (0, 1, 3, 511, 513, 2**32 - 1, -1, 2**62):
            outcomes.add(outcome(lambda: Model(tiny_path, kv_overrides={f"llama.{key}": value}).close()))  # noqa: B023
    assert outcomes == {"done", "InvalidModel"}


def test_devices_and_limits() -> None:
    found = {device["name"]: device for device in _core.devices()}
    assert found["CPU"]["type"] == "cpu"
    assert found["CPU"]["memory_total"] > 0
    assert "CPU" in found["CPU"]["buffer_types"]
    limits = _core.limits()
    assert limits["max_devices"] >= 1
    assert limits["max_parallel_sequences"] == 256
    assert limits["supports_mmap"]
    assert _core.llama_version().startswith("0.")
    assert _core.time_us() > 0


def test_facts(tiny: Model) -> None:
    facts = tiny.facts
    expected = {
        "n_layer": 2,
        "n_embd": 64,
        "n_embd_out": 64,
        "n_head": 4,
        "n_head_kv": 2,
        "n_ctx_train": 512,
        "n_swa": 0,
    }
    assert {key: facts[key] for key in expected} == expected  # type: ignore[literal-required]
    assert facts["ftype"] == "all F32" or facts["ftype"]
    assert facts["rope_type"] == "norm"
    assert facts["has_decoder"]
    assert not facts["has_encoder"]
    assert not facts["is_recurrent"]
    assert not facts["is_hybrid"]
    assert not facts["is_diffusion"]
    assert facts["decoder_start_token"] == -1
    assert facts["devices"] == ()
    assert facts["sampling"] == {}


def test_a_vocabulary_alone_has_facts(tiny_path: Path) -> None:
    with Model(tiny_path, vocab_only=True) as model:
        assert model.facts["n_head"] == 0
        assert len(model.vocab) == 267
        with pytest.raises(InvalidOption, match="without its weights"):
            model.token_embeddings()


def test_vocabulary(tiny: Model) -> None:
    vocab = tiny.vocab
    assert (len(vocab), vocab.type) == (tiny.n_vocab, "spm")
    assert vocab.special["bos"] == 1
    assert vocab.special["eos"] == 2
    assert "mask" not in vocab.special
    assert vocab.add_bos
    assert not vocab.add_eos
    assert vocab.suppress_tokens == ()
    assert vocab.text(0) == "<unk>"
    assert vocab.score(5) == -5.0
    assert vocab.attributes(1) == ("control",)
    assert vocab.attributes(3) == ("byte",)
    assert vocab.is_eog(2)
    assert not vocab.is_eog(70)
    assert vocab.is_control(1)
    assert not vocab.is_control(70)
    assert vocab.piece(3 + 0xE2, lstrip=0, special=False) == b"\xe2"  # a byte that is no character
    the = vocab.pieces(special=False).index(b" the")
    assert vocab.piece(the, lstrip=1, special=False) == b"the"
    assert vocab.piece(1, lstrip=0, special=True) == b"<s>"
    assert vocab.piece(1, lstrip=0, special=False) == b""
    assert len(vocab.pieces(special=True)) == len(vocab)
    for token in (-1, 267, 2**40):
        for method in (vocab.text, vocab.score, vocab.attributes, vocab.is_eog, vocab.is_control):
            with pytest.raises(InvalidOption, match="not in the vocabulary"):
                method(token)
        with pytest.raises(InvalidOption, match="not in the vocabulary"):
            vocab.piece(token, lstrip=0, special=True)
    with pytest.raises(InvalidOption, match="lstrip"):
        vocab.piece(70, lstrip=-1, special=True)


def test_chat_templates(smollm2: Model, tiny: Model) -> None:
    assert smollm2.chat_template_names == ("",)
    template = smollm2.chat_template()
    assert template is not None
    assert "im_start" in template
    assert smollm2.chat_template("tool_use") is None or smollm2.chat_template("tool_use") == template
    assert tiny.chat_template() is None
    assert tiny.chat_template_names == ()
    assert "chatml" in _core.chat_builtin_templates()
    messages = [("user", "Hello"), ("assistant", "Hi"), ("user", "Ünïcode \U0001f600")]
    text = _core.chat_apply_template("chatml", messages, add_assistant=True)
    assert text.startswith("<|im_start|>user\nHello<|im_end|>\n")
    assert text.endswith("<|im_start|>assistant\n")
    assert _core.chat_apply_template(template, messages, add_assistant=True).endswith("<|im_start|>assistant\n")
    assert _core.chat_apply_template("chatml", [], add_assistant=False) == ""
    for bad in ("nonesuch", "", "{% for x %}"):
        with pytest.raises(InvalidOption, match="does not know"):
            _core.chat_apply_template(bad, messages, add_assistant=True)
    with pytest.raises(InvalidOption, match="NUL"):
        _core.chat_apply_template("chatml", [("user", "a\0b")], add_assistant=True)


def test_saving(tiny_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "saved.gguf"
    with Model(tiny_path, use_extra_bufts=False) as model:
        model.save(target)
        with pytest.raises(ModelNotFound, match="Cannot write"):
            model.save(tmp_path / "no" / "folder.gguf")
        with pytest.raises(InvalidOption, match="own file"):
            model.save(tiny_path)
    assert np.allclose(logits(target), logits(tiny_path), atol=1e-4)
    with Model(tiny_path) as model, pytest.raises(InvalidOption, match="use_extra_bufts=False"):
        model.save(target)
    with (
        Model(tiny_path, vocab_only=True, use_extra_bufts=False) as model,
        pytest.raises(InvalidOption, match="weights"),
    ):
        model.save(target)
    with pytest.raises(SessionClosed):
        model.save(target)


def test_a_session_takes_what_a_context_takes(tiny: Model) -> None:
    plain = Session(tiny, n_ctx=256).decode(TOKENS)
    for options in (
        {"rope_freq_base": 50.0},
        {"rope_freq_scale": 0.25, "rope_scaling_type": "linear"},
        {"rope_scaling_type": "yarn", "rope_freq_scale": 0.25, "yarn_orig_ctx": 64},
        {"attention_type": "non_causal"},
    ):
        with Session(tiny, n_ctx=256, **options) as session:
            assert not np.allclose(session.decode(TOKENS), plain), options
    for options in (
        {"swa_full": False},
        {"offload_kqv": False},
        {"op_offload": False},
        {"n_rs_seq": 1},
        {"no_perf": False},
    ):
        with Session(tiny, n_ctx=256, **options) as session:
            assert np.allclose(session.decode(TOKENS), plain, atol=1e-4), options
            assert session.perf()["n_reused"] >= 0
            assert session.memory_breakdown()
            state = session.save_state()
            expected = session.decode([70])
            session.reset()
            session.load_state(state)
            assert session.n_past == 4
            assert np.allclose(session.decode([70]), expected, atol=1e-4)


def test_a_model_that_does_not_say_how_long_it_is(tiny_path: Path) -> None:
    with (
        Model(tiny_path, kv_overrides={"llama.context_length": 0}) as model,
        pytest.raises(InvalidOption, match="Give n_ctx"),
    ):
        Session(model, n_ctx=0)
    with pytest.raises(InvalidModel):
        Model(tiny_path, kv_overrides={"general.architecture": "nonesuch"})
