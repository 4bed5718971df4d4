"""Which settings of a model fit into given memory: pure, for whoever can tell what a setting takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CTX_STEP", "Found", "Limits", "Plan", "Question", "Usage", "search"]

# llama.cpp rounds n_ctx up to a multiple of this.
CTX_STEP = 256


@dataclass(frozen=True)
class Plan:
    """What is to be decided."""

    n_ctx: int
    n_gpu_layers: int
    """Counting the output as one."""
    host_experts: int = 0
    """So many layers, from the first, have their experts in the host's memory."""


@dataclass(frozen=True)
class Usage:
    """Bytes that a plan takes. `mapped`: weights in pages of the file, which the system may drop and read again."""

    devices: Mapping[str, int]
    host: int
    mapped: int = 0


@dataclass(frozen=True)
class Limits:
    """Bytes that may be taken."""

    devices: Mapping[str, int]
    host: int


@dataclass(frozen=True)
class Question:
    """The model's side: how many layers there are (with the output), how many have experts, which `n_ctx` will do."""

    n_layers: int
    n_expert_layers: int
    n_ctx_min: int
    n_ctx_max: int


@dataclass(frozen=True)
class Found:
    """The best plan. `fits` is False for the smallest one there is, where not even that fits."""

    plan: Plan
    usage: Usage
    fits: bool
    weights_in_memory: bool
    """Whether the file's pages fit beside the rest; otherwise they are read again and again."""
    reasons: Mapping[str, str] = field(default_factory=dict)


def search(probe: Callable[[Plan], Usage], limits: Limits, question: Question) -> Found:
    """The plan with the most layers on devices, then with the most experts there, then with the largest `n_ctx`.

    `probe` tells what a plan takes; a larger `n_ctx` takes no less anywhere, and what leaves a device goes to the host.
    """
    known = lru_cache(maxsize=None)(probe)
    for resident in (True, False):  # rather a short context than weights read from the disk for each token
        found = _best(known, limits, question, resident)
        if found is not None:
            return found
    smallest = Plan(question.n_ctx_min, 0, question.n_expert_layers if limits.devices and question.n_layers else 0)
    return Found(smallest, known(smallest), fits=False, weights_in_memory=False)


def _best(probe: Callable[[Plan], Usage], limits: Limits, question: Question, resident: bool) -> Found | None:
    def on_devices(plan: Plan) -> bool:
        return all(taken <= limits.devices.get(name, 0) for name, taken in probe(plan).devices.items())

    def fits(plan: Plan) -> bool:
        usage = probe(plan)
        return on_devices(plan) and usage.host + (usage.mapped if resident else 0) <= limits.host

    plan, reasons = _place(on_devices, limits, question)
    if plan is None or not fits(plan):
        return None
    base = plan
    first = question.n_ctx_min // CTX_STEP * CTX_STEP
    steps = -(-(question.n_ctx_max - first) // CTX_STEP)

    def longer(step: int) -> Plan:
        return base if step == 0 else replace(base, n_ctx=min(first + step * CTX_STEP, question.n_ctx_max))

    plan = longer(_largest(0, steps, lambda step: fits(longer(step))))
    if question.n_ctx_min == question.n_ctx_max:
        reasons["n_ctx"] = "as asked for"
    elif plan.n_ctx == question.n_ctx_max:
        reasons["n_ctx"] = "all that the model was trained for, or that was allowed"
    else:
        reasons["n_ctx"] = f"the most that fits, of {question.n_ctx_max}"
    return Found(plan, probe(plan), True, resident, reasons)


def _place(
    on_devices: Callable[[Plan], bool], limits: Limits, question: Question
) -> tuple[Plan | None, dict[str, str]]:
    """Where the layers go, with the shortest context."""
    n_ctx, n_layers, n_experts = question.n_ctx_min, question.n_layers, question.n_expert_layers
    if not limits.devices:
        return Plan(n_ctx, 0), {"n_gpu_layers": "there is no GPU in this process: the CPU computes all layers"}
    if n_layers == 0:
        return Plan(n_ctx, 0), {"n_gpu_layers": "as asked for"}
    if on_devices(Plan(n_ctx, n_layers)):
        return Plan(n_ctx, n_layers), {"n_gpu_layers": "all layers fit"}
    if n_experts and on_devices(Plan(n_ctx, n_layers, n_experts)):
        kept = _largest(0, n_experts - 1, lambda kept: on_devices(Plan(n_ctx, n_layers, n_experts - kept)))
        return Plan(n_ctx, n_layers, n_experts - kept), {
            "n_gpu_layers": "all layers fit, without some of their experts",
            "placement": f"the experts of the first {n_experts - kept} of {n_experts} layers stay with the CPU",
        }
    if not on_devices(Plan(n_ctx, 0, n_experts)):
        return None, {}
    some = _largest(0, n_layers - 1, lambda layers: on_devices(Plan(n_ctx, layers, n_experts)))
    reasons = {"n_gpu_layers": f"the most that fit, of {n_layers} (with the output)"}
    if n_experts:
        reasons["placement"] = "all experts stay with the CPU"
    return Plan(n_ctx, some, n_experts), reasons


def _largest(low: int, high: int, ok: Callable[[int], bool]) -> int:
    """The largest number that is ok, where `low` is, and none is above one that is not."""
    if high <= low or ok(high):
        return max(low, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if ok(middle) else (low, middle)
    return low
