"""What can be said about contexts and generations: the keyword arguments that several calls have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._native import _core
    from .pool import ThreadPool
    from .samplers import Sampler

__all__ = ["ChatOptions", "ContextOptions", "GenerateOptions", "PromptOptions"]


class ContextOptions(TypedDict, total=False):
    """How a context computes: keyword arguments of `Session`, `BatchSession` and `Embedder`. All can be left out."""

    n_threads: int | None
    """Compute threads; by default what this process may really use (`thread_budget()`)."""
    n_threads_batch: int | None
    """Compute threads for prompts, if another number."""
    wait: str | None
    """How threads wait, see `ThreadPool`."""
    pool: ThreadPool | None
    """A pool to share, instead of `n_threads`, `n_threads_batch` and `wait`."""
    disposable_pool: bool
    """Do without a pool: the engine makes threads for every graph and ends them after it, as llama.cpp does for
    programs that give it none. `wait` is the engine's default then."""
    n_batch: int
    """Tokens evaluated in one call of llama.cpp, the most (2048)."""
    n_ubatch: int
    """... and in one graph (512)."""
    flash_attn: str
    """``auto`` (llama.cpp decides), ``on`` or ``off``."""
    type_k: str
    """Type of the KV cache's keys: ``f16``, ``f32``, ``bf16``, ``q8_0``, ``q4_0``, ..."""
    type_v: str
    """... and of its values; quantised ones need flash attention."""
    offload_kqv: bool
    """Keep the KV cache, and compute attention, on the device of each layer (True)."""
    op_offload: bool
    """Compute large batches on a device though the weights lie in the host's memory (True)."""
    swa_full: bool
    """Keep all tokens in the cache of layers that see only a window of them: prefixes can be reused then (True)."""
    n_rs_seq: int
    """Snapshots of a recurrent model's state, to take back so many tokens (0)."""
    attention_type: str
    """``unspecified`` (as the model says), ``causal`` or ``non_causal``."""
    rope_scaling_type: str
    """``unspecified`` (as the model says), ``none``, ``linear``, ``yarn`` or ``longrope``."""
    rope_freq_base: float
    """Of the rotary positions; 0 as the model says."""
    rope_freq_scale: float
    """Of the rotary positions; 0 as the model says."""
    yarn_ext_factor: float
    """Of YaRN, as the next three; negative as the model says."""
    yarn_attn_factor: float
    yarn_beta_fast: float
    yarn_beta_slow: float
    yarn_orig_ctx: int
    """The length that the model was trained with, for YaRN; 0 as the model says."""
    no_perf: bool
    """Do without llama.cpp's own clocks, see `Session.perf()` (True)."""


class GenerateOptions(TypedDict, total=False):
    """How a text is generated: keyword arguments of all calls that generate. All can be left out."""

    max_tokens: int | None
    """The most to generate (128); None for as many as fit into the context."""
    temperature: float
    """0 for the most likely token each time; larger for more variety (0.8)."""
    top_k: int
    """Choose among the k most likely; 0 for all (40)."""
    top_p: float
    """Choose among the most likely that together have this probability (0.95)."""
    min_p: float
    """Leave out what is less than this times as likely as the most likely (0)."""
    repeat_penalty: float
    """Makes tokens among the last 64 less likely: 1 for no penalty (1)."""
    seed: int | None
    """0 to 2**32 - 1, for a repeatable choice; random by default."""
    logit_bias: Mapping[int, float]
    """Added to the logits of tokens: ``{token: bias}``; ``-inf`` forbids one."""
    grammar: str | None
    """Only texts that this grammar (GBNF) allows, from its rule ``root`` on."""
    json_schema: Any
    """Only JSON that this schema allows: a dict, its JSON text, or a class with ``model_json_schema()`` (pydantic)."""
    samplers: Sequence[Sampler] | _core.SamplerChain | None
    """Samplers of `llamasmith.samplers` in the order given, in place of all options above but `max_tokens`; or a chain
    of `sampler_chain()`, which keeps its state from one call to the next."""
    stop: str | Sequence[str]
    """Texts that end the generation, and are left out of it."""
    ignore_eos: bool
    """Go on after the model's end-of-generation token (False)."""
    parse_special: bool
    """Take the text of control tokens in the prompt for those tokens, as chat templates need it (True)."""


class PromptOptions(GenerateOptions, total=False):
    """What a session does with a prompt, and how it goes on: the keyword arguments of `Session.generate()`."""

    append: bool
    """Go on from what the session holds; by default the prompt is all there is (False)."""
    reuse: bool
    """Keep what the memory has in common with the prompt: only the rest of it is evaluated (True)."""
    context_shift: bool
    """When the context is full, drop the older half of the text and go on, instead of ending (False)."""
    n_keep: int | None
    """Tokens at the start that a shift never drops; by default the begin token alone."""


class ChatOptions(PromptOptions, total=False):
    """The keyword arguments of `Session.chat()`."""

    template: str | None
    """Name of one of `Model.chat_template_names`, by default the main one."""
    template_options: Mapping[str, Any] | None
    """What else the template knows, such as ``tools`` or ``enable_thinking``."""
