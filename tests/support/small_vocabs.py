"""A small, sound vocabulary for each kind of tokenizer that llama.cpp has, as files without weights."""

from __future__ import annotations

import struct

from gguf_bytes import F32, I32, STRING, U8, File, array, flag, number, words

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = ["▁the", "▁and", "hello", "▁world", "a", "b", "c", "▁", "ab", "bc"]
MERGES = ["a b", "b c", "h e", "l l", "he ll", "hell o", "Ġ t"]


def gpt2_letters() -> list[str]:
    """The character that stands for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters, n = {byte: chr(byte) for byte in plain}, 0
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + n)
            n += 1
    return [letters[byte] for byte in range(256)]


def vocab(kind: str, tokens: list[str], types: list[int], *, arch: str = "llama") -> File:
    return File(
        (
            ("general.architecture", words(arch)),
            ("general.name", words("small")),
            ("tokenizer.ggml.model", words(kind)),
            ("tokenizer.ggml.tokens", array(STRING, tokens)),
            ("tokenizer.ggml.scores", array(F32, [-float(i) for i in range(len(tokens))])),
            ("tokenizer.ggml.token_type", array(I32, types)),
        )
    )


def spm() -> File:
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *PIECES]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(PIECES)]
    file = vocab("llama", tokens, types)
    return file.put("tokenizer.ggml.bos_token_id", number(1)).put("tokenizer.ggml.eos_token_id", number(2))


def bpe(pre: str = "llama-bpe", kind: str = "gpt2") -> File:
    tokens = [*gpt2_letters(), "ab", "bc", "he", "ll", "hell", "hello", "Ġt", "<|endoftext|>"]
    file = vocab(kind, tokens, [*[NORMAL] * (len(tokens) - 1), CONTROL])
    file = file.put("tokenizer.ggml.pre", words(pre)).put("tokenizer.ggml.merges", array(STRING, MERGES))
    file = file.put("tokenizer.ggml.bos_token_id", number(len(tokens) - 1))
    return file.put("tokenizer.ggml.eos_token_id", number(len(tokens) - 1))


def wpm() -> File:
    tokens = ["[PAD]", *[f"[unused{i}]" for i in range(99)], "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += ["▁" + word for word in ("the", "and", "hello", "world", "a", "b")] + ["a", "b", "c", "ab", "!"]
    types = [*[CONTROL] * 104, *[NORMAL] * (len(tokens) - 104)]
    return vocab("bert", tokens, types, arch="bert")


def charsmap() -> bytes:
    """A trie of one root without children, and one replacement."""
    return struct.pack("<I", 1024) + bytes(1024) + b"x\0"


def ugm() -> File:
    tokens = ["<pad>", "</s>", "<unk>", *PIECES, *BYTES]
    types = [CONTROL, CONTROL, UNKNOWN, *[NORMAL] * len(PIECES), *[BYTE] * 256]
    file = vocab("t5", tokens, types, arch="t5")
    return file.put("tokenizer.ggml.precompiled_charsmap", array(U8, list(charsmap())))


def rwkv() -> File:
    tokens = ["<s>", *[f"\\x{byte:02x}" for byte in range(256)], "\\n\\n", "hello", "ab", "abc"]
    return vocab("rwkv", tokens, [CONTROL, *[NORMAL] * (len(tokens) - 1)], arch="rwkv6")


def plamo2() -> File:
    tokens = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>", *BYTES, *PIECES]
    types = [UNKNOWN, *[CONTROL] * 3, *[BYTE] * 256, *[NORMAL] * len(PIECES)]
    return vocab("plamo2", tokens, types, arch="plamo2")


def none() -> File:
    meta = (("general.architecture", words("llama")), ("tokenizer.ggml.model", words("none")))
    return File(meta).put("llama.vocab_size", number(100))


ALL: dict[str, File] = {
    "spm": spm(),
    "bpe": bpe(),
    "bpe-stl": bpe("default"),
    "bpe-gemma4": bpe("gemma4", "gemma4"),
    "whitespace": bpe("whitespace", "whitespace").put("tokenizer.ggml.normalizer.lowercase", flag(True)),
    "hybriddna": bpe("default", "hybriddna"),
    "wpm": wpm(),
    "ugm": ugm(),
    "rwkv": rwkv(),
    "plamo2": plamo2(),
    "none": none(),
    "test": vocab("test", ["a", "b", "c"], [NORMAL] * 3),
}
