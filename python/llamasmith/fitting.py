"""Settings with which a model fits into the memory there is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ._check import INT32_MAX, integer
from .backends import devices as all_devices
from .engine import load_engine
from .errors import InvalidOption, NotEnoughMemory
from .fit_search import Limits, Plan, Question, Usage, search
from .host_memory import HostMemory, host_memory
from .model import Model
from .session import Session

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from typing_extensions import Unpack

    from .backends import Device
    from .options import ContextOptions

__all__ = ["Fit", "MemoryUse", "fit"]

MIB = 2**20
MARGIN = 1024 * MIB
"""What is left free on each device, and of the host's memory at most: for drivers and other programs."""
MIN_CTX = 4096
HOST = "CPU"
# Names of the tensors that hold experts, as llama.cpp's own --cpu-moe has them.
EXPERTS = r"ffn_(up|down|gate|gate_up)_(ch|)exps"
# Where the threads run makes no difference to what a context takes.
_THREADS = ("n_threads", "n_threads_batch", "wait", "pool", "disposable_pool")


@dataclass(frozen=True)
class MemoryUse:
    """What a model would take on one device, or of the host's memory (``CPU``), in bytes."""

    name: str
    available: int
    """What is free now."""
    margin: int
    """What of this must stay free."""
    weights: int
    mapped: int
    """Weights that are pages of the model's file: the system can drop them, and reads them again."""
    context: int
    compute: int

    @property
    def needed(self) -> int:
        """Weights (without mapped ones), context and computing."""
        return self.weights + self.context + self.compute


@dataclass(frozen=True)
class Fit:
    """Settings that fit, and what the model takes with them."""

    path: Path
    n_ctx: int
    n_gpu_layers: int
    """-1 for all."""
    tensor_split: tuple[float, ...]
    placement: Mapping[str, str]
    memory: tuple[MemoryUse, ...]
    """The host's first, then each device's."""
    weights_in_memory: bool
    """Whether the mapped weights fit beside the rest; otherwise the disk sets the speed."""
    reasons: Mapping[str, str]
    """Why each setting is what it is."""
    options: Mapping[str, Any]
    """What `fit()` was told besides: of the model and of the session."""

    @property
    def model_options(self) -> dict[str, Any]:
        """Keyword arguments for `Model`."""
        found: dict[str, Any] = {name: self.options[name] for name in _MODEL if name in self.options}
        if any(use.name != HOST for use in self.memory):
            found["n_gpu_layers"] = self.n_gpu_layers
        if self.tensor_split:
            found["tensor_split"] = self.tensor_split
        if self.placement:
            found["placement"] = dict(self.placement)
        return found

    @property
    def session_options(self) -> dict[str, Any]:
        """Keyword arguments for `Session`."""
        return {"n_ctx": self.n_ctx, **{name: self.options[name] for name in self.options if name not in _MODEL}}

    @property
    def call(self) -> str:
        """The Python call that uses these settings."""
        model = "".join(f", {name}={value!r}" for name, value in self.model_options.items())
        session = "".join(f", {name}={value!r}" for name, value in self.session_options.items())
        return f"Session(Model({str(self.path)!r}{model}){session})"


_MODEL = ("load_mode", "use_extra_bufts", "devices")


def fit(
    path: str | os.PathLike[str],
    *,
    n_ctx: int | None = None,
    n_ctx_min: int = MIN_CTX,
    n_gpu_layers: int | None = None,
    tensor_split: Sequence[float] = (),
    margin: int = MARGIN,
    load_mode: str = "auto",
    use_extra_bufts: bool = True,
    devices: Sequence[str] | None = None,
    n_outputs_max: int = 1,
    max_forks: int = 0,
    **options: Unpack[ContextOptions],
) -> Fit:
    """The largest settings with which a model fits into memory that is free now. Loads no weights.

    As many layers as fit go to the GPUs that this process has loaded a backend for; where a model has experts, these
    stay with the CPU first. Then the context is made as long as possible. The sizes are llama.cpp's own, for each
    setting tried (`Session.memory_breakdown()` of a model without memory).

    Args:
        path: the ``.gguf`` file.
        n_ctx: room for tokens that you need; by default up to what the model was trained with.
        n_ctx_min: what it may not be less than, if `n_ctx` is not given.
        n_gpu_layers: as many as you want on GPUs, at most; by default all.
        tensor_split: the share of each GPU; by default by their free memory.
        margin: bytes to leave free on each device, and of the host's memory (there at most a tenth of what is free).
        load_mode, use_extra_bufts, devices: as for `Model`.
        n_outputs_max, max_forks, options: as for `Session`.

    Raises NotEnoughMemory with the figures where even the smallest setting does not fit, and what `Model` and `Session`
    raise.
    """
    load_engine()
    n_ctx = None if n_ctx is None else integer("n_ctx", n_ctx, 1, INT32_MAX)
    integer("n_ctx_min", n_ctx_min, 1, INT32_MAX)
    integer("margin", margin, 0, 2**62)
    if n_gpu_layers is not None:
        integer("n_gpu_layers", n_gpu_layers, -1, INT32_MAX, " (-1 for all)")
    model = {"load_mode": load_mode, "use_extra_bufts": use_extra_bufts, "devices": devices}
    session: dict[str, Any] = {"n_outputs_max": n_outputs_max, "max_forks": max_forks}
    session |= {name: value for name, value in options.items() if name not in _THREADS}
    host = host_memory()
    with _Trial(path, model, session, tuple(tensor_split), all_devices(), margin) as trial:
        return _decide(trial, host, margin, n_ctx=n_ctx, n_ctx_min=n_ctx_min, n_gpu_layers=n_gpu_layers, given=options)


class _Trial:
    """Asks llama.cpp what settings would take, by a model and a context that have no memory."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: Mapping[str, Any],
        session: Mapping[str, Any],
        tensor_split: tuple[float, ...],
        table: Sequence[Device],
        margin: int,
    ) -> None:
        self.path = Path(path)
        self.model, self.session, self.tensor_split = model, session, tensor_split
        self.devices: dict[str, int] = {}
        self._key: tuple[int, int] | None = None
        self._open: Model | None = None
        facts = self._load(0, 0).facts  # the devices are the same, however many layers they have
        with_memory = {device.name: device for device in table if device.type in ("gpu", "igpu")}
        self.devices = {name: with_memory[name].memory_free for name in facts["devices"] if name in with_memory}
        if len(self.devices) > 1 and not tensor_split:
            self.tensor_split = tuple(float(max(MIB, free - margin) // MIB) for free in self.devices.values())
        self.n_layers = facts["n_layer"] + facts["n_layer_nextn"] + 1
        self.n_expert_layers = facts["n_layer"] if facts["n_expert"] > 0 else 0
        self.n_ctx_train = facts["n_ctx_train"]
        self.is_mapped = model["load_mode"] in ("auto", "mmap", "mmap+mlock")

    def _load(self, n_gpu_layers: int, host_experts: int) -> Model:
        if self._open is None or self._key != (n_gpu_layers, host_experts):
            self.close()
            self._open = Model(
                self.path,
                no_alloc=True,
                n_gpu_layers=n_gpu_layers,
                tensor_split=self.tensor_split,
                placement=experts_on_host(host_experts),
                **self.model,
            )
            self._key = (n_gpu_layers, host_experts)
        return self._open

    def rows(self, plan: Plan) -> dict[str, MemoryUse]:
        """What a plan takes, by device."""
        # One thread: how many there are makes no difference to sizes, and a pool would only be made to be closed.
        with Session(
            self._load(plan.n_gpu_layers, plan.host_experts),
            n_ctx=plan.n_ctx,
            n_threads=1,
            disposable_pool=True,
            **self.session,
        ) as session:
            found = session.memory_breakdown()
        uses: dict[str, list[int]] = {name: [0, 0, 0, 0] for name in (HOST, *self.devices)}
        for row in found:
            # Memory that a GPU's driver pins for the host belongs to the GPU by name, and is the host's.
            use = uses[row["device"] if row["device"] in self.devices and not row["host"] else HOST]
            use[1 if row["host"] and self.is_mapped else 0] += row["model"]
            use[2] += row["context"]
            use[3] += row["compute"]
        return {name: MemoryUse(name, self.devices.get(name, 0), 0, *use) for name, use in uses.items()}

    def probe(self, plan: Plan) -> Usage:
        uses = self.rows(plan)
        host = uses.pop(HOST)
        return Usage({name: use.needed for name, use in uses.items()}, host.needed, host.mapped)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def __enter__(self) -> _Trial:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # what went wrong before counts
            self.close()


def experts_on_host(n_layers: int) -> dict[str, str]:
    """A placement by which the experts of the first layers stay in the host's memory."""
    if n_layers == 0:
        return {}
    return {rf"blk\.({'|'.join(str(layer) for layer in range(n_layers))})\.{EXPERTS}": HOST}


def _decide(
    trial: _Trial,
    host: HostMemory | None,
    margin: int,
    *,
    n_ctx: int | None,
    n_ctx_min: int,
    n_gpu_layers: int | None,
    given: ContextOptions,
) -> Fit:
    if n_ctx is None and trial.n_ctx_train <= 0:
        raise InvalidOption(f"{trial.path} does not say how many tokens it was trained for. Give n_ctx.")
    most = n_ctx or trial.n_ctx_train
    layers = trial.n_layers if n_gpu_layers in (None, -1) else min(n_gpu_layers or 0, trial.n_layers)
    available = host.available if host is not None else 2**62
    host_margin = min(margin, available // 10)
    limits = Limits({name: free - margin for name, free in trial.devices.items()}, available - host_margin)
    question = Question(layers, trial.n_expert_layers if layers else 0, n_ctx or min(n_ctx_min, most), most)
    found = search(trial.probe, limits, question)
    uses = []
    for name, use in trial.rows(found.plan).items():
        free = available if name == HOST else trial.devices[name]
        kept = host_margin if name == HOST else margin
        uses.append(MemoryUse(name, free, kept, use.weights, use.mapped, use.context, use.compute))
    if not found.fits:
        raise NotEnoughMemory(_too_large(trial.path, found.plan, uses, host))
    reasons = dict(found.reasons)
    if host is not None:
        reasons["CPU"] = f"{_mib(host.available)} are available by {host.source}"
    if not found.weights_in_memory:
        reasons["weights"] = "the file does not fit into memory: parts of it are read again for each token"
    options = {name: value for name, value in trial.model.items() if value != _DEFAULTS[name]}
    options |= {name: value for name, value in trial.session.items() if value != _DEFAULTS.get(name)}
    options |= {name: value for name, value in given.items() if name in _THREADS and name != "pool"}
    return Fit(
        path=trial.path,
        n_ctx=found.plan.n_ctx,
        n_gpu_layers=-1 if trial.devices and found.plan.n_gpu_layers == trial.n_layers else found.plan.n_gpu_layers,
        tensor_split=trial.tensor_split,
        placement=MappingProxyType(experts_on_host(found.plan.host_experts)),
        memory=tuple(uses),
        weights_in_memory=found.weights_in_memory,
        reasons=MappingProxyType(reasons),
        options=MappingProxyType(options),
    )


_DEFAULTS: dict[str, Any] = {
    "load_mode": "auto",
    "use_extra_bufts": True,
    "devices": None,
    "n_outputs_max": 1,
    "max_forks": 0,
}


def _too_large(path: Path, plan: Plan, uses: Sequence[MemoryUse], host: HostMemory | None) -> str:
    over = "; ".join(
        f"{use.name} needs {_mib(use.needed)} of {_mib(use.available)} free, of which {_mib(use.margin)} stay free"
        for use in uses
        if use.needed > use.available - use.margin
    )
    source = f" ({host.source})" if host is not None else ""
    return (
        f"{path.name} does not fit with n_ctx={plan.n_ctx} and {plan.n_gpu_layers} layers on GPUs: {over}{source}. Use "
        f"a smaller n_ctx or n_ctx_min, n_ubatch, type_k and type_v (q8_0, with flash_attn='on'), a smaller margin, or "
        f"weights of a smaller type (quantize())."
    )


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
