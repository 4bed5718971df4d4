"""Files that are wrong in one to four ways, from a seed: the same seed, the same file."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from gguf_bytes import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Tensor,
    Value,
    array,
    number,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from gguf_bytes import File

HOSTILE = (0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 63, 64, 65, 100, 127, 128, 255, 256, 511, 512, 513, 1024, 65535, 65536)
HOSTILE += (2**24, 2**31 - 1, 2**31, 2**32 - 1)
LENGTHS = (0, 1, 2**16, 2**31, 2**32, 2**62, 2**63, 2**64 - 1)
KINDS = ("llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "gemma4", "hybriddna", "whitespace", "test", "none", "x")
PRES = (
    "default",
    "llama-bpe",
    "gpt-2",
    "smollm",
    "deepseek-llm",
    "whitespace",
    "gemma4",
    "kimi-k2",
    "tekken",
    "bloom",
    "",
)
ARCHES = ("llama", "bert", "t5", "rwkv6", "plamo2", "gemma3", "mamba2", "qwen35moe", "clip", "nonesuch", "")
NAMES = ("Phi-3 mini", "modern-bert", "small", "")
SPECIAL = ("bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask", "cls", "fim_pre", "fim_sep", "prefix")
FLAGS = ("add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix", "remove_extra_whitespaces")
TOKENS: tuple[bytes, ...] = (
    b"", b" ", b"a", b"\xe2\x96\x81", b"\0", b"\xff\xfe", b"\xc2", b"\xed\xa0\x80", b"<0x0A>", b"<0x", b"\n", b"  ",
    b"[EMPTY_3]", b"<|im_end|>", b"<|endoftext|>", b"<dna>", b"</dna>", b"<oov>", b"[MASK]", b"\\x4", b"\\", b"\\n",
    b"</s>", b"x" * 300, b"\xe4\xb8\x80" * 1365, b"y" * 4096, b"z" * 5000,
)  # fmt: skip


def key(chance: Random, file: File) -> str | bytes:
    return chance.choice(file.meta)[0] if file.meta else "general.name"


def at(file: File, index: int, name: str | bytes, value: Value) -> File:
    return replace(file, meta=(*file.meta[:index], (name, value), *file.meta[index + 1 :]))


def drop(chance: Random, file: File) -> File:
    gone = chance.randrange(len(file.meta)) if file.meta else 0
    return replace(file, meta=file.meta[:gone] + file.meta[gone + 1 :])


def twice(chance: Random, file: File) -> File:
    return replace(file, meta=(*file.meta, chance.choice(file.meta))) if file.meta else file


def rename(chance: Random, file: File) -> File:
    if not file.meta:
        return file
    index = chance.randrange(len(file.meta))
    name = chance.choice([key(chance, file), "", b"\xff", "general.alignment", "tokenizer.ggml.merges", "x" * 200])
    return at(file, index, name, file.meta[index][1])


def retype(chance: Random, file: File) -> File:
    """Another type, over the same bytes."""
    if not file.meta:
        return file
    index = chance.randrange(len(file.meta))
    name, value = file.meta[index]
    return at(file, index, name, Value(chance.randrange(16), value.raw))


def hostile_value(chance: Random) -> Value:
    kind = chance.choice([U8, I8, U16, U32, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64])
    if kind == STRING:
        return words(chance.choice([*KINDS, *PRES, "yarn", "linear"]))
    if kind == ARRAY:
        n = chance.choice([0, 1, 2, 3, 4, 5, 512, 513])
        return array(
            *chance.choice([(U32, list(range(n))), (I32, [-1] * n), (F32, [float("nan")] * n), (STRING, ["a"] * n)])
        )
    if kind in (F32, F64):
        value = chance.choice([0.0, -1.0, float("nan"), float("inf"), 1e38, 1e-38])
        return Value(kind, struct.pack("<f" if kind == F32 else "<d", value))
    bits = {U8: 8, I8: 8, BOOL: 8, U16: 16, U32: 32, I32: 32}.get(kind, 64)
    return Value(kind, (chance.choice(HOSTILE) % 2**bits).to_bytes(bits // 8, "little"))


def revalue(chance: Random, file: File) -> File:
    return file.put(str(key(chance, file)), hostile_value(chance))


def tokenizer(chance: Random, file: File) -> File:
    name, values = chance.choice(
        [
            ("tokenizer.ggml.model", KINDS),
            ("tokenizer.ggml.pre", PRES),
            ("general.architecture", ARCHES),
            ("general.name", NAMES),
        ]
    )
    return file.put(name, words(chance.choice(values)))


def special(chance: Random, file: File) -> File:
    if chance.random() < 0.5:
        return file.put(f"tokenizer.ggml.{chance.choice(SPECIAL)}_token_id", number(chance.choice(HOSTILE)))
    return file.put(f"tokenizer.ggml.{chance.choice(FLAGS)}", Value(BOOL, bytes([chance.randrange(2)])))


def list_of(file: File, name: str) -> list[bytes]:
    """The elements of an array of texts, as far as they can be read."""
    raw = dict(file.meta).get(name, Value(0, b"")).raw
    out, place = [], 12
    while place + 8 <= len(raw):
        (length,) = struct.unpack_from("<Q", raw, place)
        out.append(raw[place + 8 : place + 8 + min(length, 10_000)])
        place += 8 + length
    return out


def tokens(chance: Random, file: File) -> File:
    """Tokens changed, added, removed; the other lists stay as long as they were."""
    name = chance.choice(["tokenizer.ggml.tokens"] * 3 + ["tokenizer.ggml.merges"])
    all_ = list_of(file, name)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(all_) + 1)
        match chance.randrange(4):
            case 0:
                all_[place : place + 1] = [chance.choice(TOKENS)]
            case 1:
                all_.insert(place, chance.choice(TOKENS))
            case 2:
                del all_[place : place + chance.choice([1, 1, 10, 300])]
            case _:
                all_[place : place + 1] = [chance.randbytes(chance.randrange(12))]
    claim = chance.choice(LENGTHS) if chance.random() < 0.05 else None
    return file.put(name, array(STRING, all_, claim=claim))


def lists(chance: Random, file: File) -> File:
    """The lists beside the tokens: other types, lengths, values."""
    n = len(list_of(file, "tokenizer.ggml.tokens"))
    n = chance.choice([n, n, n, n - 1, n + 1, 0, 1]) if n else 3
    match chance.randrange(5):
        case 0:
            values = [chance.choice([1, 2, 3, 4, 5, 6, 6, 0, -1, 99, 2**31 - 1]) for _ in range(max(n, 0))]
            return file.put("tokenizer.ggml.token_type", array(chance.choice([I32, I32, U32, I64]), values_for(values)))
        case 1:
            scores = [
                chance.choice([0.0, -1.0, float("nan"), float("inf"), -float("inf"), 3e38]) for _ in range(max(n, 0))
            ]
            return file.put("tokenizer.ggml.scores", array(chance.choice([F32, F32, F64]), scores))
        case 2:
            ids = [chance.choice([-1, 0, 1, 2**31 - 1]) for _ in range(chance.randrange(5))]
            return file.put("tokenizer.ggml.suppress_tokens", array(I32, ids))
        case 3:
            raw = chance.choice([b"", b"\0", struct.pack("<I", chance.choice(HOSTILE)) + chance.randbytes(200)])
            if chance.random() < 0.5:
                trie = b"".join(struct.pack("<I", chance.getrandbits(32)) for _ in range(256))
                raw = struct.pack("<I", 1024) + trie + b"y" * chance.choice([0, 1, 600]) + b"\0"
            return file.put("tokenizer.ggml.precompiled_charsmap", array(U8, list(raw)))
        case _:
            claim = chance.choice(LENGTHS)
            name = chance.choice(["tokenizer.ggml.scores", "tokenizer.ggml.token_type", "x.y"])
            return file.put(name, array(chance.choice([F32, I32, STRING, U8]), [], claim=claim))


def values_for(values: list[int]) -> list[int]:
    return [value & 0x7FFFFFFF for value in values]


def splits(chance: Random, file: File) -> File:
    file = file.put("split.count", number(chance.choice([0, 1, 2, 3, 65535]), chance.choice([U16, U16, U32])))
    return file.put("split.no", number(chance.choice([0, 1]), chance.choice([U16, U16, I32, U64])))


def tensors(chance: Random, file: File) -> File:
    old = list(file.tensors)
    if not old or chance.random() < 0.2:
        shape = tuple(chance.choice([1, 32, 64, 256, 0, -1, 2**40]) for _ in range(chance.randrange(6)))
        old.append(Tensor(chance.choice(["output.weight", "x", "", "y" * 70]), shape, chance.randrange(45), bytes(128)))
        return replace(file, tensors=tuple(old))
    place = chance.randrange(len(old))
    one = old[place]
    match chance.randrange(6):
        case 0:
            old[place] = replace(one, kind=chance.choice([*range(45), 2**31, -1]))
        case 1:
            dim = chance.randrange(max(len(one.shape), 1))
            shape = list(one.shape) or [1]
            shape[dim] = chance.choice([0, 1, 32, -1, 2**31, 2**62, shape[dim] // 2, shape[dim] * 2])
            old[place] = replace(one, shape=tuple(shape))
        case 2:
            old[place] = replace(one, offset=chance.choice([0, 1, 32, 2**31, 2**63, 2**64 - 32]))
        case 3:
            old[place] = replace(one, name=chance.choice([chance.choice(old).name, "", "y" * 63, b"\xff"]))
        case 4:
            del old[place]
        case _:
            other = chance.randrange(len(old))
            old[place], old[other] = replace(old[other], name=one.name), replace(one, name=old[other].name)
    return replace(file, tensors=tuple(old))


def counts(chance: Random, file: File) -> File:
    which = chance.choice(["n_keys", "n_tensors", "version"])
    if which == "version":
        return replace(file, version=chance.choice([0, 1, 2, 4, 2**16, 2**31]))
    count = chance.choice([0, 1, len(file.meta) - 1, len(file.meta) + 1, 2**20, 2**32, 2**63, 2**64 - 1])
    return replace(file, n_keys=count % 2**64) if which == "n_keys" else replace(file, n_tensors=count % 2**64)


STRUCTURED: tuple[Callable[[Random, File], File], ...] = (
    drop, twice, rename, retype, revalue, tokenizer, tokenizer, special, special, tokens, tokens, tokens, lists, lists,
    splits, tensors, counts,
)  # fmt: skip


def scribble(chance: Random, raw: bytearray, first: int) -> None:
    """Bytes changed without any knowledge of what they mean; `first`: as many are the header."""
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(max(min(first, len(raw)), 1))
        match chance.randrange(6):
            case 0:
                raw[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                raw[place : place + 8] = struct.pack("<Q", chance.choice(LENGTHS))
            case 2:
                del raw[chance.randrange(len(raw) + 1) :]
            case 3:
                del raw[place : place + chance.randrange(1, 40)]
            case 4:
                raw[place:place] = raw[place : place + chance.randrange(1, 40)]
            case _:
                if place < len(raw):
                    raw[place] ^= 1 << chance.randrange(8)


def mutant(chance: Random, file: File) -> bytes:
    """One broken file."""
    if chance.random() < 0.75:
        for _ in range(chance.choice([1, 1, 1, 2, 2, 3])):
            file = chance.choice(STRUCTURED)(chance, file)
    raw = bytearray(file.content())
    if chance.random() < 0.35:
        scribble(chance, raw, len(file.header()))
    return bytes(raw)
