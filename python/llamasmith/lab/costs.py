"""What speed costs: CPU time, switches, faults, throttling, and how much of the memory bandwidth it uses."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .plan import Metric
    from .results import ArmResult, Sample

__all__ = ["costs"]

_PER_TOKEN = ("cpu_seconds", "voluntary_switches", "involuntary_switches", "minor_faults", "major_faults")


def costs(arm: ArmResult, metric: Metric, facts: Mapping[str, Any]) -> dict[str, float | None]:
    """Medians over the samples that count; None for what is not known.

    ``..._per_token`` are of all threads of the arm's process, and hold what lies around the timed part too.
    ``throttled_share`` is the time for which a quota stopped the arm, as a share of the sample (more than 1 where it
    stopped several threads). ``gigabytes_per_second`` are weights read for generation, and ``roofline_share`` is that
    as a share of what the machine can read.
    """
    samples = arm.counted(metric)
    found = {f"{name}_per_token": _median(samples, lambda s, name=name: _per_token(s, name)) for name in _PER_TOKEN}
    found["peak_rss_bytes"] = max((s.usage["peak_rss_bytes"] for s in samples if s.usage), default=None)
    found["throttled_share"] = _median(
        samples, lambda s: None if s.throttled_seconds is None else s.throttled_seconds / sum(s.seconds)
    )
    found["gigabytes_per_second"] = _gigabytes_per_second(arm, metric)
    found["roofline_share"] = None
    roof = (facts.get("roofline") or {}).get("gigabytes_per_second")
    if roof and found["gigabytes_per_second"] is not None:
        found["roofline_share"] = found["gigabytes_per_second"] / roof
    return found


def _gigabytes_per_second(arm: ArmResult, metric: Metric) -> float | None:
    bytes_per_token, values = arm.facts.get("bytes_per_token"), arm.values(metric)
    if metric.kind != "tg" or not bytes_per_token or not values:
        return None
    return float(bytes_per_token) * median(values.values()) / 1e9


def _per_token(sample: Sample, name: str) -> float | None:
    return None if sample.usage is None else sample.usage[name] / sample.tokens


def _median(samples: list[Sample], of: Any) -> float | None:
    known = [value for sample in samples if (value := of(sample)) is not None]
    return float(median(known)) if known else None
