"""A tiny encoder that embeds, or ranks: random weights, a WordPiece vocabulary of a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "▁hello",
    "▁world",
    "▁a",
    "▁cat",
    "▁dog",
    "s",
    "▁the",
    "▁runs",
    "▁.",
    "▁?",
]
POOLING = {"mean": 1, "cls": 2, "rank": 4}


def write_tiny_bert(path: Path, pooling: str = "cls", *, context: int = 64) -> Path:
    """`pooling`: ``mean``, ``cls`` or ``rank`` (which has a classifier)."""
    import gguf

    width, heads, feed, layers = 32, 2, 64, 2
    writer = gguf.GGUFWriter(str(path), "bert")
    writer.add_name("tiny-bert")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(feed)
    writer.add_head_count(heads)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_uint32("bert.pooling_type", POOLING[pooling])
    writer.add_tokenizer_model("bert")
    writer.add_token_list(WORDS)
    writer.add_token_types([3] * 5 + [1] * (len(WORDS) - 5))
    writer.add_token_type_count(1)
    for name, token in (
        ("bos", 2),
        ("eos", 3),
        ("unknown", 1),
        ("seperator", 3),
        ("padding", 0),
        ("mask", 4),
        ("cls", 2),
    ):
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)

    random = np.random.default_rng(3)

    def add(name: str, *shape: int, scale: float = 0.3) -> None:
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))
        writer.add_tensor(f"{name}.bias", np.zeros(width, dtype=np.float32))

    def linear(name: str, n_out: int, n_in: int) -> None:
        add(f"{name}.weight", n_out, n_in)
        add(f"{name}.bias", n_out)

    add("token_embd.weight", len(WORDS), width)
    add("token_types.weight", 1, width)
    add("position_embd.weight", context, width)
    norm("token_embd_norm")
    for layer in range(layers):
        block = f"blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            linear(f"{block}.{part}", width, width)
        norm(f"{block}.attn_output_norm")
        linear(f"{block}.ffn_up", feed, width)
        linear(f"{block}.ffn_down", width, feed)
        norm(f"{block}.layer_output_norm")
    if pooling == "rank":
        linear("cls", width, width)
        linear("cls.output", 1, width)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
