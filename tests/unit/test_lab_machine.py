"""Facts are read where they are, and None where they are not."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from llamasmith.errors import ModelNotFound
from llamasmith.lab.machine import facts, machine_facts, model_facts

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("psutil")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_facts_of_a_described_machine(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/cpuinfo": "processor : 0\nmodel name\t: Some CPU @ 2 GHz\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
            "proc/self/cgroup": "0::/a\n",
            "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
        },
    )
    found = machine_facts(root)
    assert found["cpu_model"] == "Some CPU @ 2 GHz"
    assert found["governor"] == "powersave"
    assert found["cgroup_quota_cpus"] == 1.5


def test_nothing_to_read_is_no_error(tmp_path: Path) -> None:
    found = machine_facts(tmp_path)
    assert found["governor"] is None
    assert found["cgroup_quota_cpus"] is None
    assert found["cpus_logical"] >= 1


def test_a_model_is_known_by_its_digest_not_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF" * 100)
    steps: list[tuple[int, int]] = []
    found = model_facts(file, on_bytes=lambda done, total: steps.append((done, total)))
    assert found == {"file": "m.gguf", "bytes": 400, "sha256": hashlib.sha256(b"GGUF" * 100).hexdigest()}
    assert steps == [(400, 400)]


def test_a_model_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.gguf", tmp_path):
        with pytest.raises(ModelNotFound, match="cannot be read"):
            model_facts(path)


def test_all_facts_are_json_and_name_what_was_cleared(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    found = json.loads(json.dumps(facts(file, {"OMP_NUM_THREADS": "1", "HOME": "h"})))
    assert found["environment"] == {"cleared": {"OMP_NUM_THREADS": "1"}}
    assert str(tmp_path) not in json.dumps(found)
