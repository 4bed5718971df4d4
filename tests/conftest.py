"""Models for the tests: a tiny one that the tests write themselves, and the real SmolLM2, pulled once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SMOLLM2 = "smollm2-135m"


def write_tiny_model(path: Path, **changes: Any) -> Path:
    """A two-layer llama with random weights: sound, quick, and talks nonsense. `changes` replace metadata values."""
    import gguf

    width, heads, heads_kv, feed, layers, context = 64, 4, 2, 128, 2, 512
    pieces = [" the", " and", "hello", " world", "a", "b", "c", " "]
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *(p.replace(" ", "▁") for p in pieces),
    ]
    types = [2, 3, 3, *([6] * 256), *([1] * len(pieces))]

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(changes.get("context", context))
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    random = np.random.default_rng(1)

    def add(name: str, *shape: int) -> None:
        scale = 1.0 if len(shape) == 1 else 0.3
        values = np.ones(shape) if len(shape) == 1 else random.standard_normal(shape) * scale
        writer.add_tensor(name, values.astype(np.float32))

    kv = width // heads * heads_kv
    add("token_embd.weight", len(tokens), width)
    for layer in range(layers):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm.weight", width)
        add(f"{block}.attn_q.weight", width, width)
        add(f"{block}.attn_k.weight", kv, width)
        add(f"{block}.attn_v.weight", kv, width)
        add(f"{block}.attn_output.weight", width, width)
        add(f"{block}.ffn_norm.weight", width)
        add(f"{block}.ffn_gate.weight", feed, width)
        add(f"{block}.ffn_up.weight", feed, width)
        add(f"{block}.ffn_down.weight", width, feed)
    add("output_norm.weight", width)
    add("output.weight", len(tokens), width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> Iterator[Any]:
    """The tiny model, loaded once."""
    from llamasmith import Model

    with Model(tiny_path) as model:
        yield model


@pytest.fixture
def session(tiny: Any) -> Iterator[Any]:
    """A session of the tiny model with two threads."""
    from llamasmith import Session

    with Session(tiny, n_ctx=256, n_threads=2, wait="yield") as session:
        yield session


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """Path of the real model, pulled into the user's cache if it is not there."""
    from llamasmith import hub

    return hub.pull(SMOLLM2)


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Iterator[Any]:
    """The real model, loaded once."""
    from llamasmith import Model

    with Model(smollm2_path) as model:
        yield model


RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Runs a script in a process of its own: for what ends a process, or for another engine."""

    def run(code: str, *args: str | Path, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(code, encoding="utf-8")
        return subprocess.run(
            [sys.executable, str(script), *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **env},
        )

    return run
