"""The roofline: measured once a machine, when it is quiet."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith.bandwidth import read_bandwidth
from llamasmith.errors import InvalidOption, NotEnoughMemory
from llamasmith.lab.roofline import roofline

if TYPE_CHECKING:
    from pathlib import Path

MACHINE: dict[str, Any] = {"cpu_model": "Some CPU", "cpus_logical": 2, "busy_cpus": 0.0}


class Speeds:
    def __init__(self, *speeds: float) -> None:
        self.left = list(speeds)

    def __call__(self, n_threads: int) -> float:
        return self.left.pop(0) * n_threads


def test_a_quiet_machine_is_measured_once(tmp_path: Path) -> None:
    speeds = Speeds(10e9)
    for _ in range(2):
        assert roofline(MACHINE, 2, tmp_path / "new", speeds) == {"gigabytes_per_second": 20.0, "n_threads": 2}
    assert speeds.left == []


def test_a_busy_machine_is_measured_again_and_the_best_counts(tmp_path: Path) -> None:
    busy = MACHINE | {"busy_cpus": 1.0}
    speeds = Speeds(8e9, 4e9, 9e9)
    found = [roofline(machine, 1, tmp_path, speeds) for machine in (busy, busy, MACHINE, MACHINE)]
    assert [entry and entry["gigabytes_per_second"] for entry in found] == [8.0, 8.0, 9.0, 9.0]
    assert speeds.left == []


def test_other_machines_and_threads_are_measured_apart(tmp_path: Path) -> None:
    speeds = Speeds(1e9, 2e9, 3e9)
    other = MACHINE | {"cpu_model": "Another CPU"}
    for machine, n_threads in ((MACHINE, 1), (MACHINE, 2), (other, 1)):
        roofline(machine, n_threads, tmp_path, speeds)
    assert speeds.left == []
    assert len(json.loads((tmp_path / "roofline.json").read_text())) == 3


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"machine": {}}]', "\x00"])
def test_a_broken_memory_is_forgotten(tmp_path: Path, text: str) -> None:
    (tmp_path / "roofline.json").write_text(text)
    assert roofline(MACHINE, 1, tmp_path, Speeds(5e9)) == {"gigabytes_per_second": 5.0, "n_threads": 1}


def test_what_cannot_be_measured_or_kept_is_no_error(tmp_path: Path) -> None:
    def fails(n_threads: int) -> float:
        raise subprocess.CalledProcessError(1, "python")

    assert roofline(MACHINE, 1, tmp_path, fails) is None
    file = tmp_path / "file"
    file.touch()
    assert roofline(MACHINE, 1, file / "folder", Speeds(5e9)) == {"gigabytes_per_second": 5.0, "n_threads": 1}


def test_reading_memory_in_a_process_of_its_own(tmp_path: Path) -> None:
    found = roofline(MACHINE, 1, tmp_path)
    assert found is not None
    assert 0.1 < found["gigabytes_per_second"] < 5000


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_the_kernel_reads_with_any_number_of_threads(n_threads: int) -> None:
    assert 1e8 < read_bandwidth(n_threads, n_bytes=1 << 24, seconds=0.0) < 1e13


def test_the_kernel_refuses_what_it_cannot_do() -> None:
    with pytest.raises(InvalidOption, match="n_threads is 0"):
        read_bandwidth(0)
    with pytest.raises(InvalidOption, match="n_bytes"):
        read_bandwidth(1, n_bytes=-1)
    with pytest.raises(InvalidOption, match="seconds"):
        read_bandwidth(1, seconds=float("nan"))
    with pytest.raises(NotEnoughMemory, match="the system does not give"):
        read_bandwidth(1, n_bytes=1 << 62)
