"""A tiny model that the tests write themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_tiny_model"]


def write_tiny_model(path: Path, **changes: Any) -> Path:
    """A two-layer llama with random weights: sound, quick, and talks nonsense. `changes` replace metadata values.

    `norms` names further tensors of a head's width, in each layer.
    """
    import gguf

    width, heads, heads_kv, feed, layers, context = 64, 4, 2, 128, 2, 512
    pieces = changes.get("pieces", [" the", " and", "hello", " world", "a", "b", "c", " "])
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *(p.replace(" ", "▁") for p in pieces),
    ]
    types = [2, 3, 3, *([6] * 256), *([1] * len(pieces))]

    writer = gguf.GGUFWriter(str(path), changes.get("arch", "llama"))
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
        for norm in changes.get("norms", ()):
            add(f"{block}.{norm}.weight", width // heads)
        add(f"{block}.ffn_norm.weight", width)
        add(f"{block}.ffn_gate.weight", feed, width)
        add(f"{block}.ffn_up.weight", feed, width)
        add(f"{block}.ffn_down.weight", width, feed)
    add("output_norm.weight", width)
    if not changes.get("tied", False):  # else it is the table of embeddings
        add("output.weight", len(tokens), width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
