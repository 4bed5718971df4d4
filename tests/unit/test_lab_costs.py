"""Costs: per token, shares and the roofline, on numbers that can be followed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from llamasmith.lab.arm import Arm
from llamasmith.lab.costs import costs
from llamasmith.lab.plan import Metric
from llamasmith.lab.results import ArmResult, Sample

TG, PP = Metric("tg", 10), Metric("pp", 10)
ROOF = {"roofline": {"gigabytes_per_second": 20.0, "n_threads": 2}}


def usage(**change: float) -> dict[str, float]:
    return {
        "cpu_seconds": 1.0,
        "voluntary_switches": 40,
        "involuntary_switches": 4,
        "minor_faults": 100,
        "major_faults": 0,
        "peak_rss_bytes": 1000,
    } | change


def sample(**change: Any) -> Sample:
    """20 tokens in two repeats of 0.25 s each."""
    fields: dict[str, Any] = {
        "metric": "tg10",
        "round": 1,
        "position": 0,
        "warmup": False,
        "tokens": 20,
        "seconds": (0.25, 0.25),
        "usage": usage(),
        "throttled_seconds": 0.0,
    }
    return Sample(**fields | change)


def arm(*samples: Sample, **facts: Any) -> ArmResult:
    return ArmResult(Arm("a", "patched"), facts=facts, samples=list(samples))


def test_what_a_token_costs() -> None:
    found = costs(arm(sample()), TG, {})
    assert found["cpu_seconds_per_token"] == 1.0 / 20
    assert found["voluntary_switches_per_token"] == 40 / 20
    assert found["involuntary_switches_per_token"] == 4 / 20
    assert found["minor_faults_per_token"] == 100 / 20
    assert found["major_faults_per_token"] == 0
    assert found["peak_rss_bytes"] == 1000


def test_the_median_sample_counts_and_the_largest_peak() -> None:
    samples = [
        sample(usage=usage(cpu_seconds=0.2, peak_rss_bytes=1500)),
        sample(usage=usage(cpu_seconds=0.6)),
        sample(usage=usage(cpu_seconds=60.0)),
        sample(usage=usage(cpu_seconds=9.0, peak_rss_bytes=9999), warmup=True),
        sample(usage=usage(cpu_seconds=9.0, peak_rss_bytes=9999), metric="pp10"),
    ]
    found = costs(arm(*samples), TG, {})
    assert found["cpu_seconds_per_token"] == pytest.approx(0.6 / 20)
    assert found["peak_rss_bytes"] == 1500


def test_a_sample_cut_short_costs_by_the_tokens_it_made() -> None:
    found = costs(arm(sample(tokens=5, seconds=(10.0,), usage=usage(cpu_seconds=20.0))), TG, {})
    assert found["cpu_seconds_per_token"] == 4.0


def test_throttled_time_is_a_share_of_the_samples() -> None:
    assert costs(arm(sample(throttled_seconds=0.1)), TG, {})["throttled_share"] == pytest.approx(0.2)
    assert costs(arm(sample()), TG, {})["throttled_share"] == 0
    # two threads, each stopped for most of the time
    assert costs(arm(sample(throttled_seconds=0.9)), TG, {})["throttled_share"] == pytest.approx(1.8)
    assert costs(arm(sample(throttled_seconds=None)), TG, {})["throttled_share"] is None


def test_bandwidth_is_weights_per_token_times_tokens_per_second() -> None:
    found = costs(arm(sample(), bytes_per_token=100_000_000), TG, ROOF)
    assert found["gigabytes_per_second"] == pytest.approx(4.0)  # 0.1 GB, 40 tokens/s
    assert found["roofline_share"] == pytest.approx(0.2)


@pytest.mark.parametrize("facts", [{}, {"roofline": None}])
def test_without_a_roofline_there_is_no_share_of_it(facts: dict[str, Any]) -> None:
    found = costs(arm(sample(), bytes_per_token=100_000_000), TG, facts)
    assert found["gigabytes_per_second"] == pytest.approx(4.0)
    assert found["roofline_share"] is None


def test_a_prompt_reads_the_weights_once_for_many_tokens() -> None:
    found = costs(arm(sample(metric="pp10"), bytes_per_token=100_000_000), PP, ROOF)
    assert (found["gigabytes_per_second"], found["roofline_share"]) == (None, None)


def test_what_is_not_known_is_none() -> None:
    for empty in (arm(), arm(sample(usage=None, throttled_seconds=None))):
        assert set(costs(empty, TG, ROOF).values()) == {None}
