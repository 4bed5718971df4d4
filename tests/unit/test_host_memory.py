"""What is available of the host's memory, read from made-up machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llamasmith.host_memory import host_memory

if TYPE_CHECKING:
    from pathlib import Path

MEMINFO = "MemTotal:       8000 kB\nMemFree: 100 kB\nMemAvailable:    4000 kB\nSwapFree: 9999 kB\n"
V2 = {
    "proc/self/cgroup": "0::/a/b\n",
    "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
}
V1 = {
    "proc/self/cgroup": "4:cpu,cpuacct:/elsewhere\n3:memory:/a\n",
    "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
}
UP, AT = "sys/fs/cgroup/a/", "sys/fs/cgroup/a/b/"
OLD = "sys/fs/cgroup/memory/a/"


@pytest.mark.parametrize(
    ("files", "available", "source"),
    [
        pytest.param({}, 4000 * 1024, "/proc/meminfo", id="no group"),
        pytest.param({**V2, AT + "memory.max": "max"}, 4000 * 1024, "/proc/meminfo", id="no limit"),
        pytest.param(
            {**V2, AT + "memory.max": "3000", AT + "memory.current": "1000"}, 2000, f"/{AT}memory.max", id="own limit"
        ),
        pytest.param(
            {**V2, AT + "memory.max": "max", UP + "memory.max": "3000", UP + "memory.current": "3100"},
            0,
            f"/{UP}memory.max",
            id="a limit above, exceeded",
        ),
        pytest.param(
            {**V2, AT + "memory.max": "3000", AT + "memory.high": "2500", AT + "memory.current": "1000"},
            1500,
            f"/{AT}memory.high",
            id="throttled before the limit",
        ),
        pytest.param(
            {
                **V2,
                AT + "memory.max": "3000",
                AT + "memory.current": "2000",
                AT + "memory.stat": "anon 500\ninactive_file 1200\n",
            },
            2200,
            f"/{AT}memory.max",
            id="pages of files can be dropped",
        ),
        pytest.param(
            {
                **V1,
                OLD + "memory.limit_in_bytes": "5000",
                OLD + "memory.usage_in_bytes": "3000",
                OLD + "memory.stat": "inactive_file 7\ntotal_inactive_file 100\n",
            },
            2100,
            f"/{OLD}memory.limit_in_bytes",
            id="version 1",
        ),
        pytest.param(
            {**V1, OLD + "memory.limit_in_bytes": "9223372036854771712"},
            4000 * 1024,
            "/proc/meminfo",
            id="1, unlimited",
        ),
        pytest.param({**V2, AT + "memory.max": "9" * 5000}, 4000 * 1024, "/proc/meminfo", id="garbled"),
    ],
)
def test_the_least_counts(files: dict[str, str], available: int, source: str, tmp_path: Path) -> None:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = host_memory(tmp_path)
    assert found is not None
    assert (found.available, found.source) == (available, source)


def test_nothing_known(tmp_path: Path) -> None:
    assert host_memory(tmp_path) is None


def test_this_machine() -> None:
    found = host_memory()
    assert found is not None
    assert found.available > 2**20
