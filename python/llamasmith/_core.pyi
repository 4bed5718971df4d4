"""The extension's contract: moves in the same commit as src/ext/register_*.cpp."""

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

class EngineFacts(TypedDict):
    path: str
    openmp: bool
    chooses_wait: bool
    features: tuple[str, ...]

class CpuFacts(TypedDict):
    arch: str
    leaf1_ecx: int
    leaf7_ebx: int
    leaf7_ecx: int
    leaf7_edx: int
    leaf7_1_eax: int
    ext1_ecx: int
    xcr0: int
    tiles: bool
    hwcap: int
    hwcap2: int

class DeviceFacts(TypedDict):
    name: str
    description: str
    type: str
    memory_free: int
    memory_total: int

class BackendFacts(TypedDict):
    path: str
    name: str
    devices: tuple[DeviceFacts, ...]

class CounterValues(TypedDict):
    barriers: int
    spins: int
    yields: int
    parks: int
    wait_ns: int
    taken: int
    n_active: int

class GenerationState(TypedDict):
    tokens: tuple[int, ...]
    stop_reason: str
    prompt_tokens: int
    prompt_seconds: float
    generated_tokens: int
    generate_seconds: float

def read_bandwidth(*, n_threads: int, n_bytes: int, seconds: float) -> float: ...
def cpu_facts() -> CpuFacts: ...
def cpu_features(facts: CpuFacts) -> dict[str, str]: ...
def load_backend(path: str) -> BackendFacts: ...
def devices() -> tuple[DeviceFacts, ...]: ...
def load_engine(path: str) -> EngineFacts: ...
def engine_loaded() -> bool: ...
def wait_policies() -> tuple[str, ...]: ...
def priorities() -> tuple[str, ...]: ...
def rpc_serve(endpoint: str, *, cache: str, n_threads: int) -> None: ...

class Model:
    def __init__(
        self,
        path: str,
        *,
        vocab_only: bool,
        check_tensors: bool,
        use_extra_bufts: bool,
        n_gpu_layers: int,
        load_mode: str,
        rpc: Sequence[str],
        progress: Callable[[float], None] | None,
    ) -> None: ...
    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...
    def detokenize(self, tokens: Sequence[int], *, remove_special: bool, unparse_special: bool) -> bytes: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def desc(self) -> str: ...
    @property
    def n_vocab(self) -> int: ...
    @property
    def n_ctx_train(self) -> int: ...
    @property
    def n_embd(self) -> int: ...
    @property
    def n_layer(self) -> int: ...
    @property
    def n_params(self) -> int: ...
    @property
    def size(self) -> int: ...
    def bytes_per_token(self) -> int: ...
    @property
    def token_bos(self) -> int: ...
    @property
    def token_eos(self) -> int: ...
    @property
    def metadata(self) -> dict[str, str]: ...

class ThreadPool:
    def __init__(
        self, n_threads: int, *, wait: str, poll: int, cpus: Sequence[int], strict: bool, priority: str, n_cpus: int
    ) -> None: ...
    @property
    def n_threads(self) -> int: ...
    @property
    def wait(self) -> str: ...
    @wait.setter
    def wait(self, name: str) -> None: ...
    def counters(self) -> CounterValues | None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...

class Session:
    def __init__(
        self,
        model: Model,
        *,
        pool: ThreadPool | None,
        pool_batch: ThreadPool | None,
        n_threads: int,
        n_threads_batch: int,
        n_ctx: int,
        n_batch: int,
        n_ubatch: int,
        n_outputs_max: int,
        flash_attn: str,
        type_k: str,
        type_v: str,
    ) -> None: ...
    def decode(self, tokens: Sequence[int], *, all_logits: bool) -> npt.NDArray[np.float32]: ...
    def start(
        self,
        tokens: Sequence[int],
        *,
        max_tokens: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int,
        stop: Sequence[str],
        ignore_eos: bool,
        append: bool,
    ) -> int: ...
    def advance(self, id: int, n: int) -> tuple[str, str]: ...
    def state(self, id: int) -> GenerationState: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...
    def cancel(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    @property
    def n_ctx(self) -> int: ...
    @property
    def n_past(self) -> int: ...
