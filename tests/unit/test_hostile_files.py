"""What a file or a grammar can do to llama.cpp, one by one: each gets an exception that says what is wrong.

All of these end the process, never come back, or take all memory in llama.cpp itself, at this pin.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import small_models
import small_vocabs
from gguf_bytes import I32, STRING, U8, U16, U32, File, Value, array, number, real, words
from small_vocabs import BYTE, BYTES, CONTROL, NORMAL, PIECES, UNKNOWN, vocab

from llamasmith import Model, Session
from llamasmith import samplers as s
from llamasmith.errors import InvalidModel, InvalidOption, LlamaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def spm_of(tokens: list[Any], types: list[int] | None = None) -> File:
    file = small_vocabs.spm().put("tokenizer.ggml.tokens", array(STRING, tokens)).without("tokenizer.ggml.scores")
    return file.put("tokenizer.ggml.token_type", array(I32, types or [NORMAL] * len(tokens)))


def charsmap(replacement: bytes) -> Value:
    return array(U8, list(struct.pack("<I", 1024) + bytes(1024) + replacement + b"\0"))


TOKENS = ["<unk>", "<s>", "</s>", *BYTES, *PIECES]
VOCABS: dict[str, tuple[File, str]] = {
    "a token twice": (spm_of([*TOKENS, "hello"]), "the token 'hello' twice, as 261 and 269"),
    "a token named like an empty one": (spm_of(["a", "", "[EMPTY_1]"]), r"the token '\[EMPTY_1\]' twice"),
    "a token of a megabyte": (spm_of(["a" * 2**20]), "token of 1048576 bytes"),
    "no tokens": (vocab("test", [], []), "without tokens"),
    "bytes in WordPiece": (
        small_vocabs.wpm().put("tokenizer.ggml.token_type", array(I32, [CONTROL] * 104 + [BYTE] * 11)),
        "token for a byte, 104",
    ),
    "a bomb of replacements": (
        small_vocabs.ugm().put("tokenizer.ggml.precompiled_charsmap", charsmap(b"x" * 10_000)),
        "replaces one character by more than 512 bytes",
    ),
    "an endless RWKV vocabulary": (
        vocab("rwkv", ["<s>", "\\n\\n", "<"], [NORMAL] * 3, arch="rwkv6"),
        "without a token for the byte 10",
    ),
    "PLaMo tokens that are not UTF-8": (
        small_vocabs.plamo2()
        .put("tokenizer.ggml.tokens", array(STRING, ["<u>", "<s>", "</s>", "<p>", *BYTES, b"a\xb0"]))
        .put("tokenizer.ggml.token_type", array(I32, [UNKNOWN, CONTROL, CONTROL, CONTROL, *[BYTE] * 256, NORMAL])),
        "that is not UTF-8",
    ),
    "long PLaMo tokens": (
        vocab("plamo2", ["\u0100" * 1000 + str(i) for i in range(10)], [NORMAL] * 10, arch="plamo2"),
        "tokens that are too long",
    ),
    "a bomb of spelt-out characters": (
        small_vocabs.bpe().put(
            "tokenizer.ggml.tokens", array(STRING, [f"{i:04}" + "\u4e00" * 1360 for i in range(60)])
        ),
        "MiB, written out",
    ),
    "a pre-tokenizer that keeps spaces": (small_vocabs.bpe("whitespace"), "'whitespace' does not belong to its kind"),
    "four billion tokens without texts": (
        small_vocabs.none().put("llama.vocab_size", number(2**32 - 1)),
        "vocab_size = 4294967295",
    ),
    "a part's number of another type": (
        small_vocabs.spm().put("split.no", number(0, I32)).put("split.count", number(2, U16)),
        "'split.no' that is not a 16-bit number",
    ),
}


def write(path: Path, file: File) -> Path:
    path.write_bytes(file.content())
    return path


@pytest.mark.parametrize("name", VOCABS)
def test_vocabularies(tmp_path: Path, name: str) -> None:
    file, message = VOCABS[name]
    with pytest.raises(InvalidModel, match=message):
        Model(write(tmp_path / "model.gguf", file), vocab_only=True)


@pytest.mark.parametrize("kind", small_vocabs.ALL)
def test_sound_ones_of_each_kind(tmp_path: Path, kind: str) -> None:
    """The checks above are not what keeps good files out."""
    with Model(write(tmp_path / "model.gguf", small_vocabs.ALL[kind]), vocab_only=True) as model:
        if kind != "none":
            assert model.tokenize("hello")


def test_the_second_part_of_a_split_model_is_looked_at_too(tmp_path: Path) -> None:
    first = small_vocabs.spm().put("split.count", number(2, U16)).put("split.no", number(0, U16))
    write(tmp_path / "m-00001-of-00002.gguf", first)
    second = File((("split.no", words("one")),))
    write(tmp_path / "m-00002-of-00002.gguf", second)
    with pytest.raises(InvalidModel, match=r"00002-of-00002.gguf has a 'split.no'"):
        Model(tmp_path / "m-00001-of-00002.gguf", vocab_only=True)
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(LlamaError, match=r"No model at .*00002-of-00002"):
        Model(tmp_path / "m-00001-of-00002.gguf", vocab_only=True)


def test_a_vocabulary_that_lacks_what_it_adds(tmp_path: Path) -> None:
    file = spm_of(["a"]).without("tokenizer.ggml.bos_token_id").without("tokenizer.ggml.eos_token_id")
    with Model(write(tmp_path / "model.gguf", file), vocab_only=True) as model:
        with pytest.raises(InvalidModel, match="adds a token 'bos' to texts, but has none"):
            model.tokenize("a")
        with pytest.raises(InvalidModel, match="cannot express this"):  # and nothing for a space, or a byte
            model.tokenize("b", add_special=False)


MODELS: dict[str, tuple[Callable[[File], File], str]] = {
    "epsilon below 0": (lambda f: f.put("llama.attention.layer_norm_rms_epsilon", real(-1.0)), "Allowed: 0 and more"),
    "epsilon that is no number": (
        lambda f: f.put("llama.attention.layer_norm_rms_epsilon", real(float("nan"))),
        "Allowed: 0 and more",
    ),
    "norms of F16": (lambda f: of_type(f, "blk.0.attn_norm.weight", 1, 2), "compute with f32 only"),
    "weights of whole numbers": (lambda f: of_type(f, "blk.0.attn_q.weight", 26, 4), "which is for tables of ids"),
    "weights of bytes": (lambda f: of_type(f, "token_embd.weight", 24, 1), "which no engine takes for weights"),
    "no groups": (lambda f: as_arch(f, "mamba2").put("mamba2.ssm.group_count", number(0)), "group_count = 0"),
    "no interval": (
        lambda f: as_arch(f, "qwen3next").put("qwen3next.full_attention_interval", number(0)),
        "full_attention_interval = 0",
    ),
    "no experts": (lambda f: as_arch(f, "llada-moe"), "expert_count = 0"),
}


def of_type(file: File, name: str, kind: int, size: int) -> File:
    return replace(
        file,
        tensors=tuple(
            replace(t, kind=kind, data=bytes(len(t.data) // 4 * size)) if t.name == name else t for t in file.tensors
        ),
    )


def as_arch(file: File, arch: str) -> File:
    meta = tuple((str(name).replace("llama.", f"{arch}."), value) for name, value in file.meta)
    return replace(file, meta=meta).put("general.architecture", words(arch))


@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path: Path, name: str) -> None:
    change, message = MODELS[name]
    with pytest.raises(InvalidModel, match=message):
        Model(write(tmp_path / "model.gguf", change(small_models.llama())))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rope.dimension_sections", array(U32, [0, 0, 0, 0]), "does not say how many each has"),
        ("rope.dimension_count", number(7), "an even number"),
        ("rope.dimension_count", number(16), "at most the numbers of a head, 8"),
    ],
)
def test_what_is_seen_once_llama_cpp_has_loaded_it(tmp_path: Path, name: str, value: Value, message: str) -> None:
    """Engines would end the process while they compute."""
    file = as_arch(small_models.llama(), "qwen2vl")
    file = file.put("qwen2vl.rope.dimension_sections", array(U32, [2, 1, 1, 0])).put(f"qwen2vl.{name}", value)
    extra = [
        replace(t, name=str(t.name).replace(".weight", ".bias"), shape=t.shape[1:], data=bytes(4 * t.shape[1]))
        for t in file.tensors
        if str(t.name).endswith(("attn_q.weight", "attn_k.weight", "attn_v.weight"))
    ]
    file = replace(file, tensors=(*file.tensors, *extra))
    with pytest.raises(InvalidModel, match=message):
        Model(write(tmp_path / "model.gguf", file))


def test_what_is_left_becomes_an_exception_too(tmp_path: Path) -> None:
    """No check of ours knows this one: upstream's assertion is thrown as an exception through its own frames."""
    file = as_arch(small_models.llama(), "nanbeige").put("nanbeige.num_loops", number(0))
    with pytest.raises(InvalidModel, match="GGML_ASSERT"):
        Model(write(tmp_path / "model.gguf", file))
    with (
        Model(write(tmp_path / "sound.gguf", small_models.llama())) as model,
        Session(model, n_ctx=64, n_threads=1) as session,
    ):
        assert session.decode([1, 5]).shape == (model.n_vocab,)


@pytest.mark.parametrize("kind", ["bpe-stl", "whitespace", "hybriddna", "bpe"])
@pytest.mark.parametrize("letter", ["a", "!", " ", "1", "\u6f22"])
def test_texts_without_end(tmp_path: Path, kind: str, letter: str) -> None:
    """The standard library's regular expressions recurse for each character: 8 MiB of stack are soon at an end."""
    with Model(write(tmp_path / "model.gguf", small_vocabs.ALL[kind]), vocab_only=True) as model:
        tokens = model.tokenize(letter * 150_000, add_special=False)
        if letter == "a":
            assert len(tokens) == 150_000
        with pytest.raises(InvalidOption, match="Tokenise it in parts"):
            model.tokenize("a" * 5_000_000)


GRAMMARS: dict[str, tuple[str, str]] = {
    "fewer at most than at least": ("root ::= [a-z]{8,3}", "at least 8 and at most 3 times"),
    "the same with a comment": ("root ::= ([a-z]{8 # at\n , 3})", "at least 8 and at most 3 times"),
    "hidden left recursion": ('root ::= a root "x"\na ::= b\nb ::= | "y"', "may begin with itself"),
    "open left recursion": ('root ::= root "x" | "y"', "may begin with itself"),
    "exponential search": (
        "root ::= r0\n" + "\n".join(f"r{i} ::= r{i + 1} | r{i + 1}" for i in range(60)) + '\nr60 ::= "a"',
        "too often",
    ),
    "a bomb of copies": ('root ::= "' + "a" * 500_000 + '"{2000}', "too large: its repetitions"),
    "a bomb of rules": ("root ::= " + "[a]{0,2000} " * 5000, "too large: its repetitions"),
    "a bomb in steps": ('root ::= "' + "a" * 5000 + '"{100}{20} ' * 9, "too large: its repetitions"),
    "parentheses behind texts": ('root ::= "' + ")" * 5000 + '" ' + "(" * 5000, "too large: at most 200 parentheses"),
    "parentheses behind classes": ("root ::= " + "([)]" * 300, "too large: at most 200 parentheses"),
    "too many rules": ("\n".join(f"r{i} ::= r{i + 1}" for i in range(20_000)), "too large"),
    "no such root": ('start ::= "a"', "no rule 'root'"),
    "a rule that is not there": ("root ::= a", "'a' is used, but not defined"),
    "a text without end": ('root ::= "abc', "unexpected end"),
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_grammars(tiny: Model, capfd: pytest.CaptureFixture[str], name: str) -> None:
    grammar, message = GRAMMARS[name]
    with pytest.raises(InvalidOption, match=message) as caught:
        s.sampler_chain(tiny, [s.Grammar(grammar), s.Greedy()])
    assert len(str(caught.value)) < 500
    assert capfd.readouterr().err == ""  # upstream prints the whole grammar there


SOUND = (
    'root ::= "(((((" [)]+ # (((\n',
    'root ::= "a"? "b"* ("c" | "d")+ [^"\\]]{0,5}',
    "root ::= " + "(" * 100 + '"a"' + ")" * 100,
    'root ::= x\nx ::= "{" (x ("," x)*)? "}"',
    'root ::= a a\na ::= b | "x"\nb ::= c? "z"\nc ::= "y"{0,9}',
)


@pytest.mark.parametrize("grammar", SOUND)
def test_sound_grammars(tiny: Model, grammar: str) -> None:
    s.sampler_chain(tiny, [s.Grammar(grammar), s.Greedy()])
