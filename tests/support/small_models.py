"""Whole models of a few kilobytes, with weights, as files that may be wrong in any way."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import gguf_mutants
import small_vocabs
from gguf_bytes import F32, I32, U32, Tensor, Value, array, number, real, words

if TYPE_CHECKING:
    from gguf_bytes import File

WIDTH, HEADS, HEADS_KV, FEED, LAYERS = 32, 4, 2, 64, 2

# Numbers that llama.cpp reads under the name of an architecture, "block_count" and the like.
NUMBERS = (
    "adapters.count", "adapters.lora_rank", "attention.decay_lora_rank", "attention.group_norm_groups",
    "attention.head_count", "attention.head_count_kv", "attention.indexer.block_size",
    "attention.indexer.head_count", "attention.indexer.key_length", "attention.indexer.top_k",
    "attention.key_length", "attention.key_length_mla", "attention.key_length_swa", "attention.kv_lora_rank",
    "attention.output_group_count", "attention.output_lora_rank", "attention.q_lora_rank",
    "attention.relative_buckets_count", "attention.shared_kv_layers", "attention.sliding_window",
    "attention.sliding_window_pattern", "attention.value_length", "attention.value_length_mla",
    "attention.value_length_swa", "attn_res.block_size", "block_count", "block_size", "context_length",
    "conv_group_size", "conv_kernel_size", "convnext.block_count", "convnext.embedding_length",
    "decoder_block_count", "decoder_start_token_id", "embedding_length", "embedding_length_out",
    "embedding_length_per_layer_input", "expert_chunk_feed_forward_length", "expert_count",
    "expert_feed_forward_length", "expert_gating_func", "expert_group_count", "expert_group_used_count",
    "expert_latent_length", "expert_shared_count", "expert_shared_feed_forward_length", "expert_used_count",
    "experts_per_group", "features_length", "feed_forward_length", "full_attention_interval", "hash_layer_count",
    "hrm.h_cycles", "hrm.l_cycles", "hrm.layers_per_stack", "hyper_connection.count", "hyper_connection.low_rank",
    "hyper_connection.sinkhorn_iterations", "interleave_moe_layer_step", "kda.head_dim",
    "leading_dense_block_count", "moe_every_n_layers", "moe_latent_size", "n_deepstack_layers",
    "nextn_predict_layers", "num_loops", "ple.conv_kernel", "ple.heads_per_ngram", "ple.ngram_size", "pooling_type",
    "posnet.block_count", "posnet.embedding_length", "rescale_every_n_layers", "rope.dimension_count",
    "rope.dimension_count_swa", "rope.scaling.original_context_length", "selector_rank", "selector_top_k",
    "shortconv.l_cache", "ssm.conv_kernel", "ssm.group_count", "ssm.inner_size", "ssm.state_size",
    "ssm.time_step_rank", "time_decay_extra_dim", "time_mix_extra_dim", "token_shift_count", "vocab_size",
    "wkv.head_size",
)  # fmt: skip
REALS = (
    "attention.clamp_kqv", "attention.group_norm_epsilon", "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon", "attention.max_alibi_bias", "attention.scale",
    "attention.temperature_scale", "attn_logit_softcapping", "embedding_scale", "expert_weights_scale",
    "final_logit_softcapping", "hyper_connection.epsilon", "logit_scale", "residual_scale", "rope.freq_base",
    "rope.freq_base_swa", "rope.scaling.factor", "rope.scaling.attn_factor",
)  # fmt: skip
LISTS = (
    "rope.dimension_sections", "attention.sliding_window_pattern", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "expert_used_count", "deepstack_mapping", "ple.layers", "attention.recurrent_layers",
    "attention.compress_ratios", "swiglu_clamp_exp", "target_layers",
)  # fmt: skip
ARCHES = (
    "afmoe", "apertus", "arcee", "arctic", "arwkv7", "baichuan", "bailingmoe", "bailingmoe2", "bailingmoe3", "bert",
    "bitnet", "bloom", "chameleon", "chatglm", "clip", "codeshell", "cogvlm", "cohere2", "cohere2moe", "command-r",
    "dbrx", "deci", "deepseek", "deepseek2", "deepseek2-ocr", "deepseek32", "deepseek4", "dflash", "dots1",
    "dots3note", "dream", "eagle3", "ernie4_5", "ernie4_5-moe", "eurobert", "exaone", "exaone-moe", "exaone4",
    "falcon", "falcon-h1", "gemma", "gemma-embedding", "gemma2", "gemma3", "gemma3n", "gemma4", "gemma4-assistant",
    "glm-dsa", "glm4", "glm4moe", "glm5-next", "gpt-oss", "gpt2", "gptj", "gptneox", "granite", "granite_swa",
    "granitehybrid", "granitemoe", "graniteswitch", "grok", "grovemoe", "hrm_text", "hunyuan-dense", "hunyuan-moe",
    "hunyuan_vl", "hy_v3", "hy_v4", "internlm2", "jais", "jais2", "jamba", "jina-bert-v2", "jina-bert-v3",
    "kimi-k3", "kimi-linear", "laguna", "lfm2", "lfm2moe", "llada", "llada-moe", "llama", "llama-embed", "llama4",
    "maincoder", "mamba", "mamba2", "maple", "mellum", "mimo2", "minicpm", "minicpm3", "minimax-01", "minimax-m2",
    "minimax-m3", "mistral3", "mistral4", "modern-bert", "mpt", "muse-glimmer", "nanbeige", "nemotron",
    "nemotron_h", "nemotron_h_moe", "neo-bert", "nomic-bert", "nomic-bert-moe", "olmo", "olmo2", "olmoe", "openelm",
    "orion", "paddleocr", "pangu-embedded", "phi2", "phi3", "phimoe", "plamo", "plamo2", "plamo3", "plm",
    "pockettts", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next",
    "qwen3tts", "qwen3vl", "qwen3vlmoe", "qwen4exp", "refact", "rnd1", "rwkv6", "rwkv6qwen2", "rwkv7", "seed_oss",
    "smallthinker", "smollm3", "spark2_5", "stablelm", "starcoder", "starcoder2", "step35", "t5", "t5encoder",
    "talkie", "wavtokenizer-dec", "xverse",
)  # fmt: skip


def weights(chance: Random, name: str, *shape: int) -> Tensor:
    values = [chance.uniform(-0.5, 0.5) for _ in range(math.prod(shape))]
    return Tensor(name, shape, 0, struct.pack(f"<{len(values)}f", *values))


def llama() -> File:
    """Two layers of llama, sound."""
    file = small_vocabs.spm()
    numbers = {
        "context_length": 128, "embedding_length": WIDTH, "block_count": LAYERS, "feed_forward_length": FEED,
        "attention.head_count": HEADS, "attention.head_count_kv": HEADS_KV, "rope.dimension_count": WIDTH // HEADS,
    }  # fmt: skip
    for name, value in numbers.items():
        file = file.put(f"llama.{name}", number(value))
    file = file.put("llama.attention.layer_norm_rms_epsilon", real(1e-5))
    chance, kv, n_vocab = Random(1), WIDTH // HEADS * HEADS_KV, 3 + 256 + len(small_vocabs.PIECES)
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (WIDTH, n_vocab)}
    for layer in range(LAYERS):
        part = {
            "attn_norm": (WIDTH,), "attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, kv), "attn_v": (WIDTH, kv),
            "attn_output": (WIDTH, WIDTH), "ffn_norm": (WIDTH,), "ffn_gate": (WIDTH, FEED), "ffn_up": (WIDTH, FEED),
            "ffn_down": (FEED, WIDTH),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in part.items()}
    shapes |= {"output_norm.weight": (WIDTH,), "output.weight": (WIDTH, n_vocab)}
    return replace(file, tensors=tuple(weights(chance, name, *shape) for name, shape in shapes.items()))


def absurd(chance: Random, name: str) -> Value:
    if name in REALS:
        return real(chance.choice([0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf")]))
    if name in LISTS and chance.random() < 0.5:
        length = chance.choice([0, 1, 2, 3, 4, 512, 513])
        return array(
            *chance.choice(
                [(U32, [chance.choice([0, 1, 2, 3, 2**32 - 1]) for _ in range(length)]), (F32, [0.0] * length)]
            )
        )
    return number(chance.choice(gguf_mutants.HOSTILE))


def retyped(chance: Random, tensor: Tensor) -> Tensor:
    """Of another type, with as many bytes as that takes."""
    sizes = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 8: (32, 34), 9: (32, 36),
             15: (256, 292), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
             30: (1, 2), 20: (32, 18), 39: (32, 17)}  # fmt: skip
    kind = chance.choice(list(sizes))
    block, size = sizes[kind]
    data = chance.randbytes(math.prod(tensor.shape) // block * size)
    return replace(tensor, kind=kind, data=data)


def mutant(chance: Random, file: File) -> bytes:
    """A broken one, or one with odd numbers: its weights are looked at too."""
    match chance.randrange(5):
        case 0:
            return gguf_mutants.mutant(chance, file)
        case 1 | 2:
            for name in chance.sample([*NUMBERS, *REALS, *LISTS], chance.randint(1, 3)):
                file = file.put(f"llama.{name}", absurd(chance, name))
        case 3:
            changed = list(file.tensors)
            for _ in range(chance.randint(1, 3)):
                place = chance.randrange(len(changed))
                changed[place] = retyped(chance, changed[place])
            file = replace(file, tensors=tuple(changed))
        case _:
            changed = list(file.tensors)
            place = chance.randrange(len(changed))
            changed[place] = replace(changed[place], data=chance.randbytes(len(changed[place].data)))
            file = replace(file, tensors=tuple(changed))
    return file.content()


def of_any_architecture(chance: Random, file: File) -> File:
    """The same tensors under another name, with numbers that may be absurd."""
    arch = chance.choice(ARCHES)
    names = [re.sub(r"^llama\.", f"{arch}.", str(name)) for name, _ in file.meta]
    meta = tuple((name, value) for name, (_, value) in zip(names, file.meta, strict=True))
    file = replace(file, meta=meta).put("general.architecture", words(arch))
    sane = chance.random() < 0.7
    for name in chance.sample([*NUMBERS, *REALS, *LISTS], chance.choice([2, 10, 60, 100])):
        old = any(key == f"{arch}.{name}" for key, _ in file.meta)
        value = real(1e-5) if name in REALS else number(chance.choice([1, 2, 4, 8, 16, 32]))
        if not (old and chance.random() < 0.8):
            file = file.put(f"{arch}.{name}", value if sane and chance.random() < 0.9 else absurd(chance, name))
    return file


def qwen35() -> File:
    """A layer of qwen35's linear attention, and one of its full attention, sound."""
    file = small_vocabs.spm().put("general.architecture", words("qwen35"))
    groups, state, heads_v, head, conv = 2, 8, 4, 16, 4
    numbers = {
        "context_length": 128, "embedding_length": WIDTH, "block_count": 2, "feed_forward_length": FEED,
        "attention.head_count": 2, "attention.head_count_kv": 1, "attention.key_length": head,
        "attention.value_length": head, "rope.dimension_count": head, "full_attention_interval": 2,
        "ssm.conv_kernel": conv, "ssm.inner_size": state * heads_v, "ssm.state_size": state,
        "ssm.time_step_rank": heads_v, "ssm.group_count": groups,
    }  # fmt: skip
    for name, value in numbers.items():
        file = file.put(f"qwen35.{name}", number(value))
    file = file.put("qwen35.rope.dimension_sections", array(I32, [2, 2, 2, 2]))
    file = file.put("qwen35.attention.layer_norm_rms_epsilon", real(1e-5))
    chance, keys, values = Random(1), state * groups, state * heads_v
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WIDTH, 3 + 256 + len(small_vocabs.PIECES)), "output_norm.weight": (WIDTH,),
        "blk.0.attn_qkv.weight": (WIDTH, 2 * keys + values), "blk.0.attn_gate.weight": (WIDTH, values),
        "blk.0.ssm_conv1d.weight": (conv, 2 * keys + values), "blk.0.ssm_dt.bias": (heads_v,),
        "blk.0.ssm_a": (heads_v,), "blk.0.ssm_beta.weight": (WIDTH, heads_v),
        "blk.0.ssm_alpha.weight": (WIDTH, heads_v), "blk.0.ssm_norm.weight": (state,),
        "blk.0.ssm_out.weight": (values, WIDTH),
        "blk.1.attn_q.weight": (WIDTH, 2 * 2 * head), "blk.1.attn_k.weight": (WIDTH, head),
        "blk.1.attn_v.weight": (WIDTH, head), "blk.1.attn_output.weight": (2 * head, WIDTH),
        "blk.1.attn_q_norm.weight": (head,), "blk.1.attn_k_norm.weight": (head,),
    }  # fmt: skip
    for layer in range(2):
        part = {
            "attn_norm": (WIDTH,), "post_attention_norm": (WIDTH,), "ffn_gate": (WIDTH, FEED), "ffn_up": (WIDTH, FEED),
            "ffn_down": (FEED, WIDTH),
        }  # fmt: skip
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in part.items()}
    return replace(file, tensors=tuple(weights(chance, name, *shape) for name, shape in shapes.items()))
