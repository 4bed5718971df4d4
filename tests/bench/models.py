"""Models that make one cost large and all others small: nearly all barriers, or nearly all sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_narrow_model"]

# So narrow that a step of the graph has nothing worth sharing among threads. The least that attention kernels take.
WIDTH = 16
_MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_NORMS = ("attn_norm", "ffn_norm")


def write_narrow_model(path: Path, *, layers: int, n_vocab: int) -> Path:
    """A llama of width 16 with random weights. Its logits scatter as those of a trained model do."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", "<0x0A>", *(f"word{i}" for i in range(4, n_vocab))])
    writer.add_token_scores([-float(i) for i in range(n_vocab)])
    writer.add_token_types([2, 3, 3, 6, *([1] * (n_vocab - 4))])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = np.random.default_rng(1)

    def add(name: str, *shape: int, scale: float) -> None:
        values = np.ones(shape) if len(shape) == 1 else random.standard_normal(shape) * scale
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))

    add("token_embd", n_vocab, WIDTH, scale=1.0)
    for layer in range(layers):
        for name in _MATRICES:
            add(f"blk.{layer}.{name}", WIDTH, WIDTH, scale=0.3)
        for name in _NORMS:
            add(f"blk.{layer}.{name}", WIDTH, scale=1.0)
    add("output_norm", WIDTH, scale=1.0)
    add("output", n_vocab, WIDTH, scale=1.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
