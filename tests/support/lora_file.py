"""LoRA adapters for the tiny model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def write_lora(path: Path, *, seed: int, width: int = 64, name: str = "blk.0.attn_q.weight", **meta: str) -> Path:
    """An adapter of rank 4 with random weights, scaled by alpha 4."""
    import gguf

    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(path), meta.get("arch", "llama"))
    writer.add_string("general.type", meta.get("general_type", "adapter"))
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_string("general.name", "mine")
    for part, shape in (("lora_a", (4, width)), ("lora_b", (64, 4))):
        writer.add_tensor(f"{name}.{part}", random.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
