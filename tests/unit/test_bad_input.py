"""No input may end the interpreter: each of these gets an exception that says what is wrong."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith import Model, Session, ThreadPool, load_engine
from llamasmith._native import _core
from llamasmith.errors import (
    ContextFull,
    EngineError,
    EngineNotFound,
    InvalidModel,
    InvalidOption,
    LlamaError,
    ModelNotFound,
    NotEnoughMemory,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HEADER = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)


def key(name: str, kind: int, value: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind) + value


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


ARCHITECTURE = key("general.architecture", 8, text("llama"))


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    dims = struct.pack(f"<I{len(shape)}q", len(shape), *shape)
    return text(name) + dims + struct.pack("<IQ", kind, offset)


def file_of(n_tensors: int, n_keys: int, *parts: bytes, version: int = 3, rest: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys) + b"".join(parts) + bytes(rest)


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "three bytes": (b"GGU", "cut short"),
    "not GGUF": (b"PK\x03\x04" + bytes(100), "does not begin with 'GGUF'"),
    "only magic": (b"GGUF", "cut short"),
    "version 1": (file_of(0, 0, version=1), "version 1"),
    "version 99": (file_of(0, 0, version=99), "version 99"),
    "other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "other byte order"),
    "huge counts": (file_of(2**60, 2**60), "not a sound GGUF"),
    "no keys": (HEADER, "architecture"),
    "key cut short": (file_of(0, 1, struct.pack("<Q", 50), b"abc"), "cut short"),
    "key of 2**63 bytes": (file_of(0, 1, struct.pack("<Q", 2**63)), "not a sound GGUF"),
    "text of 2**63 bytes": (file_of(0, 1, key("a", 8, struct.pack("<Q", 2**63))), "cut short"),
    "unknown value type": (file_of(0, 1, key("a", 77, bytes(8))), "unknown type 77"),
    "array that overflows": (file_of(0, 1, key("a", 9, struct.pack("<IQ", 10, 2**61 + 1))), "cut short"),
    "array of arrays": (file_of(0, 1, key("a", 9, struct.pack("<IQ", 9, 1))), "unknown type 9"),
    "key twice": (file_of(0, 2, ARCHITECTURE, ARCHITECTURE), "twice"),
    "alignment 0": (file_of(0, 2, ARCHITECTURE, key("general.alignment", 4, bytes(4))), "alignment 0"),
    "alignment 3": (file_of(0, 2, ARCHITECTURE, key("general.alignment", 4, b"\3\0\0\0")), "alignment 3"),
    "alignment as text": (file_of(0, 2, ARCHITECTURE, key("general.alignment", 8, text("32"))), "32-bit number"),
    "five dimensions": (file_of(1, 1, ARCHITECTURE, tensor("t", (1,) * 5, 0, 0)), "5 dimensions"),
    "negative dimension": (file_of(1, 1, ARCHITECTURE, tensor("t", (-4,), 0, 0)), "dimension of -4"),
    "zero dimension": (file_of(1, 1, ARCHITECTURE, tensor("t", (0,), 0, 0)), "dimension of 0"),
    "size overflows": (file_of(1, 1, ARCHITECTURE, tensor("t", (2**40, 2**40), 0, 0)), "impossible size"),
    "unknown tensor type": (file_of(1, 1, ARCHITECTURE, tensor("t", (32,), 999, 0)), "unknown type 999"),
    "removed tensor type": (file_of(1, 1, ARCHITECTURE, tensor("t", (32,), 4, 0)), "unknown type 4"),
    "row not whole blocks": (file_of(1, 1, ARCHITECTURE, tensor("t", (33,), 2, 0)), "multiple of 32"),
    "offset not aligned": (file_of(1, 1, ARCHITECTURE, tensor("t", (8,), 0, 7), rest=200), "impossible offset"),
    "offset overflows": (file_of(1, 1, ARCHITECTURE, tensor("t", (8,), 0, 2**64 - 32)), "impossible offset"),
    "tensor outside the file": (file_of(1, 1, ARCHITECTURE, tensor("t", (1024,), 0, 0), rest=64), "cut short"),
    "tensor twice": (
        file_of(2, 1, ARCHITECTURE, tensor("t", (8,), 0, 0), tensor("t", (8,), 0, 32), rest=200),
        "twice",
    ),
    "sound but no model": (file_of(0, 1, ARCHITECTURE), "cannot be loaded"),
    "no layers": (file_of(0, 2, ARCHITECTURE, key("llama.block_count", 4, bytes(4))), "block_count = 0"),
    "too many layers": (file_of(0, 2, ARCHITECTURE, key("llama.block_count", 4, b"\xff" * 4)), "Allowed: 1 to 512"),
    "experts without number": (
        file_of(
            0,
            3,
            ARCHITECTURE,
            key("llama.block_count", 4, b"\1\0\0\0"),
            key("llama.expert_count", 4, b"\4\0\0\0"),
        ),
        "expert_used_count = 0",
    ),
    "unknown rope scaling": (
        file_of(
            0, 3, ARCHITECTURE, key("llama.block_count", 4, b"\1\0\0\0"), key("llama.rope.scaling.type", 8, text("odd"))
        ),
        "Allowed: none, linear, yarn, longrope",
    ),
    "unknown architecture": (file_of(0, 1, key("general.architecture", 8, text("nonesuch"))), "nonesuch"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_model(tmp_path: Path, name: str) -> None:
    content, message = FILES[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=message) as caught:
        Model(path)
    assert str(path) in str(caught.value)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="No model at"):
        Model(tmp_path / "absent.gguf")
    with pytest.raises(FileNotFoundError):  # a builtin that any program knows
        Model(tmp_path / "absent.gguf")
    with pytest.raises(InvalidModel, match="directory"):
        Model(tmp_path)
    with pytest.raises(InvalidModel, match="regular file"):
        Model("/dev/null")
    with pytest.raises(InvalidOption, match="NUL"):
        Model("a\0b")


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 0.8, 0.99, 0.9999])
def test_half_downloaded_files(tiny_path: Path, tmp_path: Path, keep: float) -> None:
    whole = tiny_path.read_bytes()
    path = tmp_path / "half.gguf"
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InvalidModel, match="cut short"):
        Model(path)


def test_mutated_models_never_end_the_interpreter(tiny_path: Path, tmp_path: Path) -> None:
    """Bytes of the header flipped at random: an exception or a model, nothing else."""
    import random

    whole = bytearray(tiny_path.read_bytes())
    path = tmp_path / "mutant.gguf"
    outcomes: dict[str, int] = {}
    for seed in range(300):
        chance = random.Random(seed)
        mutant = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            mutant[chance.randrange(0, 9000)] = chance.randrange(256)
        path.write_bytes(mutant)
        try:
            Model(path, vocab_only=True).close()
            outcome = "loaded"
        except LlamaError as error:
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert set(outcomes) <= {"loaded", "InvalidModel"}
    assert outcomes["InvalidModel"] > 10


MODEL_OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"load_mode": "fast"}, InvalidOption, "Allowed: auto, none, mmap"),
    ({"n_gpu_layers": -2}, InvalidOption, "n_gpu_layers is -2"),
    ({"n_gpu_layers": 2**40}, InvalidOption, "n_gpu_layers"),
    ({"n_gpu_layers": "all"}, TypeError, "must be an int"),
]


@pytest.mark.parametrize(("options", "error", "message"), MODEL_OPTIONS, ids=str)
def test_model_options(tiny_path: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Model(tiny_path, **options)


SESSION_OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"n_ctx": -1}, InvalidOption, "n_ctx is -1"),
    ({"n_ctx": 2**31}, InvalidOption, "Allowed: 0 to 2147483647"),
    ({"n_ctx": 10**30}, InvalidOption, "Allowed: 0 to 2147483647"),
    ({"n_ctx": 2**31 - 1}, NotEnoughMemory, "MiB for the KV cache"),
    ({"n_ctx": 1.5}, TypeError, "n_ctx must be an int"),
    ({"n_batch": 0}, InvalidOption, "n_batch is 0"),
    ({"n_batch": 2**31}, InvalidOption, "n_batch"),
    ({"n_ubatch": 0}, InvalidOption, "n_ubatch is 0"),
    ({"n_outputs_max": 0}, InvalidOption, "n_outputs_max is 0"),
    ({"n_outputs_max": 2**31}, InvalidOption, "n_outputs_max"),
    ({"disposable_pool": True, "wait": "spin"}, InvalidOption, "leave out pool and wait"),
    ({"disposable_pool": True, "n_threads": 0}, InvalidOption, "n_threads is 0"),
    ({"n_threads_batch": 0}, InvalidOption, "n_threads_batch is 0"),
    ({"n_threads": 0}, InvalidOption, "n_threads is 0. Allowed: 1 to 512"),
    ({"n_threads": -1}, InvalidOption, "n_threads is -1"),
    ({"n_threads": 10_000}, InvalidOption, "n_threads is 10000"),
    ({"n_threads_batch": 10_000}, InvalidOption, "n_threads_batch is 10000"),
    ({"wait": "sleep"}, InvalidOption, "Allowed: spin, yield, park"),
    ({"wait": ""}, InvalidOption, "Allowed: spin, yield, park"),
    ({"flash_attn": "yes"}, InvalidOption, "Allowed: auto, on, off"),
    ({"type_k": "q3"}, InvalidOption, "type_k is 'q3'. Allowed: f32"),
    ({"type_v": ""}, InvalidOption, "type_v"),
    ({"type_v": "q8_0", "flash_attn": "off"}, InvalidOption, "needs flash attention"),
]


@pytest.mark.parametrize(("options", "error", "message"), SESSION_OPTIONS, ids=str)
def test_session_options(tiny: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Session(tiny, **options)


def test_pool_and_threads_exclude_each_other(tiny: Any) -> None:
    with pytest.raises(InvalidOption, match="either pool"):
        Session(tiny, pool=ThreadPool(1), n_threads=1)


@pytest.mark.parametrize("n_ctx", [1, 2, 255, 257])
@pytest.mark.parametrize("n_batch", [1, 7, 2048])
def test_odd_sizes_work(tiny: Any, n_ctx: int, n_batch: int) -> None:
    with Session(tiny, n_ctx=n_ctx, n_batch=n_batch, n_ubatch=3, n_threads=1) as session:
        assert session.decode([1] * min(session.n_ctx, 20)).shape == (tiny.n_vocab,)


def test_as_many_threads_as_allowed(tiny: Any) -> None:
    with Session(tiny, n_ctx=64, n_threads=512, wait="park") as session:
        assert session.generate("a", max_tokens=2, temperature=0, ignore_eos=True).timings.generated_tokens == 2


TOKENS: list[tuple[Any, type[Exception], str]] = [
    ([], InvalidOption, "at least one"),
    ([-1], InvalidOption, "Token -1 at index 0"),
    ([1, 267], InvalidOption, "Token 267 at index 1 is not in the vocabulary"),
    ([2**31], InvalidOption, "2147483648"),
    ([-(2**63)], InvalidOption, "not in any vocabulary"),
    ([10**30], InvalidOption, "flat list of ints"),
    ([[1, 2]], InvalidOption, "flat list of ints"),
    ([[1], [2, 3]], InvalidOption, "not a list of token ids"),
    ([1.0], InvalidOption, "flat list of ints"),
    ("abc", InvalidOption, "flat list of ints"),
    (None, InvalidOption, "flat list of ints"),
    ([1] * 1000, ContextFull, "1000 tokens do not fit"),
]


@pytest.mark.parametrize(("tokens", "error", "message"), TOKENS, ids=lambda value: str(value)[:20])
def test_tokens(session: Any, tokens: Any, error: type[Exception], message: str) -> None:
    session.decode([1, 5])
    with pytest.raises(error, match=message):
        session.decode(tokens)
    assert session.n_past == 2  # nothing lost
    session.decode([5])


TEXTS: list[tuple[Any, type[Exception], str]] = [
    ("\ud800", InvalidOption, "lone surrogate"),
    ("ok\udfff", InvalidOption, "index 2"),
    (b"\xff\xfe", InvalidOption, "not valid UTF-8"),
    (b"\xc3", InvalidOption, "not valid UTF-8"),
    (7, TypeError, "must be str or bytes"),
]


@pytest.mark.parametrize(("given", "error", "message"), TEXTS, ids=str)
def test_texts(tiny: Any, given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        tiny.tokenize(given)


GENERATE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"prompt": []}, InvalidOption, "no tokens"),
    ({"prompt": "a" * 5000}, ContextFull, "room for 256"),
    ({"prompt": "\udc80"}, InvalidOption, "lone surrogate"),
    ({"prompt": [10**6]}, InvalidOption, "not in the vocabulary"),
    ({"max_tokens": -1}, InvalidOption, "max_tokens is -1"),
    ({"max_tokens": 2**40}, InvalidOption, "max_tokens"),
    ({"temperature": -0.1}, InvalidOption, "temperature"),
    ({"temperature": float("nan")}, InvalidOption, "temperature"),
    ({"temperature": float("inf")}, InvalidOption, "temperature"),
    ({"top_k": -1}, InvalidOption, "top_k is -1"),
    ({"top_p": 0.0}, InvalidOption, "top_p"),
    ({"top_p": 1.01}, InvalidOption, "top_p"),
    ({"seed": -1}, InvalidOption, "seed is -1"),
    ({"seed": 2**32}, InvalidOption, "seed"),
    ({"stop": [""]}, InvalidOption, "stop string is empty"),
    ({"stop": ["\ud800"]}, InvalidOption, "lone surrogate"),
]


@pytest.mark.parametrize(("options", "error", "message"), GENERATE, ids=lambda value: str(value)[:40])
def test_generate(session: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    session.decode([1, 5])
    with pytest.raises(error, match=message):
        session.generate(**{"prompt": "a", "max_tokens": 2, **options})
    assert session.n_past == 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: load_engine("patchd"), EngineNotFound, "Did you mean 'patched'"),
        (lambda: load_engine("upstream"), EngineError, "a process runs one engine"),
        (lambda: ThreadPool(0), InvalidOption, "n_threads is 0"),
        (lambda: ThreadPool(1, poll=101), InvalidOption, "poll is 101"),
        (lambda: ThreadPool(1, wait="spn"), InvalidOption, "Allowed: spin"),
    ],
)
def test_engines_and_pools(tiny: Any, call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def endless() -> Iterator[int]:
    while True:
        yield 0


FIRST = min(os.sched_getaffinity(0))
POOL_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"cpus": []}, "cpus is empty. Give ints, or a list like '0-3,8'"),
    ({"cpus": ""}, "cpus is empty"),
    ({"cpus": " "}, "cpus is empty"),
    ({"cpus": [-1]}, "cpus names CPU -1, which this machine does not have. Allowed: "),
    ({"cpus": [100_000]}, "cpus names CPU 100000, which this machine does not have"),
    ({"cpus": [2**80]}, "which this machine does not have"),
    ({"cpus": "0-99999999999"}, "which this machine does not have"),
    ({"cpus": f"{FIRST}-" + "9" * 30}, "is no number and no range"),
    ({"cpus": [FIRST, FIRST]}, f"names CPU {FIRST} twice"),
    ({"cpus": f"{FIRST},{FIRST}-{FIRST}"}, f"names CPU {FIRST} twice"),
    ({"cpus": endless()}, "names CPU 0"),
    ({"cpus": [0.0]}, "cpus has 0.0, which is no whole number"),
    ({"cpus": ["0"]}, "cpus has '0', which is no whole number"),
    ({"cpus": {"0", None}}, "which is no whole number"),
    ({"cpus": FIRST}, f"cpus is {FIRST}. Give ints"),
    ({"cpus": b"0"}, "cpus is b'0'. Give ints"),
    ({"cpus": "0,,1"}, "where '' is no number"),
    ({"cpus": "-1"}, "where '-1' is no number"),
    ({"cpus": "3-1"}, "where '3-1' runs backwards"),
    ({"cpus": "0-x"}, "where '0-x' is no number"),
    ({"cpus": "\u0663"}, "is no number"),
    ({"cpus": "0\0"}, "is no number"),
    ({"cpus": [FIRST], "strict": True, "n_threads": 2}, "2 threads do not fit on CPUs"),
    ({"strict": True, "n_threads": 512}, "512 threads do not fit on CPUs .*, those of the thread budget. Use at most"),
    ({"strict": 1}, "strict is 1. Allowed: True, False"),
    ({"strict": "no"}, "strict is 'no'. Allowed: True, False"),
    ({"priority": "urgent"}, "priority is 'urgent'. Allowed: low, normal, medium, high, realtime"),
    ({"priority": ""}, "priority is ''. Allowed: low"),
    ({"priority": 2}, "priority is 2. Allowed: low"),
    ({"priority": "high\0"}, "Allowed: low"),
    ({"priority": "high", "n_threads": 512}, "would wait for each other for ever. Use at most"),
    ({"wait": 0}, "wait is 0. Allowed: spin, yield, park"),
    ({"wait": "spin\0"}, "Allowed: spin, yield, park"),
    ({"wait": "\ud800"}, "Allowed: spin, yield, park"),
]


@pytest.mark.parametrize(("options", "message"), POOL_OPTIONS, ids=lambda value: str(value)[:40])
def test_pool_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        ThreadPool(**options)


def test_what_native_code_refuses_by_itself() -> None:
    load_engine()
    placed: dict[str, Any] = {"cpus": [FIRST], "strict": False, "priority": "normal", "n_cpus": 2}
    good: dict[str, Any] = {"wait": "", "poll": 50, **placed}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"cpus": [-1]}, "Allowed: each CPU once, 0 to 511"),
        ({"cpus": [512]}, "Allowed: each CPU once"),
        ({"cpus": [FIRST, FIRST]}, "Allowed: each CPU once"),
        ({"cpus": [511]}, "to which the system does not let threads be bound: Invalid argument"),
        ({"strict": True}, "2 threads do not fit on 1 CPUs"),
        ({"priority": "urgent"}, "Allowed: low, normal"),
    ]
    for options, message in bad:
        with pytest.raises(InvalidOption, match=message):
            _core.ThreadPool(2, **{**good, **options})
    _core.ThreadPool(2, **good).close()


def test_a_policy_that_is_no_name() -> None:
    with ThreadPool(1) as pool:
        for wait in (None, 3, "spin\0"):
            with pytest.raises(InvalidOption, match="Allowed: spin, yield, park"):
                pool.wait = wait  # type: ignore[assignment]


def test_every_error_is_a_llama_error() -> None:
    from llamasmith import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), LlamaError)
