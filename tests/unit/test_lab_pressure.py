"""What makes a machine busy or small: found, made, seen to be in force, and taken away again."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab_world import World, experiment

from llamasmith.errors import InvalidOption
from llamasmith.lab.condition import Condition
from llamasmith.lab.pressure import ConditionNotMet, Neighbours, Quota, Throttling, own_throttling
from llamasmith.lab.pressure.busy import start_busy
from llamasmith.lab.pressure.cgroup import CpuGroup, find_cpu_group
from llamasmith.lab.process import cpu_seconds_of
from llamasmith.lab.surroundings import check_afterwards, create
from llamasmith.threads import thread_budget

if TYPE_CHECKING:
    from llamasmith.lab.results import CellResult

V1 = {
    "proc/self/cgroup": "5:cpu,cpuacct:/box/one\n1:name=systemd:/init\n0::/\n",
    "proc/self/mountinfo": (
        "30 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
        "34 24 0:30 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory\n"
    ),
    "sys/fs/cgroup/cpu,cpuacct/box/one/cpu.stat": "nr_periods 7\nnr_throttled 3\nthrottled_time 2500000000\n",
}
V2 = {
    "proc/self/cgroup": "0::/user.slice/one\n",
    "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/user.slice/one/cgroup.procs": "1\n",
    "sys/fs/cgroup/user.slice/one/cgroup.subtree_control": "memory\n",
    "sys/fs/cgroup/user.slice/one/cpu.stat": (
        "usage_usec 5\nnr_periods 70\nnr_throttled 30\nthrottled_usec 1500000\nnr_bursts 0\n"
    ),
}
# A container that sees its own part of the tree as the root of the mount.
CONTAINER = {
    "proc/self/cgroup": "4:cpu:/docker/abc/inner\n",
    "proc/self/mountinfo": "33 24 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup ro,cpu\n",
    "sys/fs/cgroup/cpu/inner/cpu.stat": "",
}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "version", "folder"),
    [
        (V1, 1, "sys/fs/cgroup/cpu,cpuacct/box/one"),
        (V2, 2, "sys/fs/cgroup/user.slice/one"),
        (CONTAINER, 1, "sys/fs/cgroup/cpu/inner"),
    ],
)
def test_the_group_that_limits_cpu_time_is_found(tmp_path: Path, files: Any, version: int, folder: str) -> None:
    assert find_cpu_group(write(tmp_path, files)) == CpuGroup(version, tmp_path / folder)


def test_no_group_is_no_error(tmp_path: Path) -> None:
    assert find_cpu_group(tmp_path) is None
    assert own_throttling(tmp_path) is None
    with pytest.raises(ConditionNotMet, match="No cgroup with the controller cpu"), Quota(1.0, root=tmp_path):
        pass


def test_counters_of_both_versions(tmp_path: Path) -> None:
    assert own_throttling(write(tmp_path / "1", V1)) == Throttling(7, 3, 2.5)
    assert own_throttling(write(tmp_path / "2", V2)) == Throttling(70, 30, 1.5)
    assert own_throttling(write(tmp_path / "3", CONTAINER)) is None  # an empty cpu.stat


def test_a_quota_is_written_as_each_version_wants_it(tmp_path: Path) -> None:
    parent = write(tmp_path / "1", V1) / "sys/fs/cgroup/cpu,cpuacct/box/one"
    with Quota(1.5, root=tmp_path / "1") as quota:
        (group,) = (entry for entry in parent.iterdir() if entry.is_dir())
        assert (group / "cpu.cfs_quota_us").read_text() == "150000"
        assert (group / "cpu.cfs_period_us").read_text() == "100000"
        quota.add(4711)
        assert (group / "cgroup.procs").read_text() == "4711"
        with pytest.raises(ConditionNotMet, match="does not tell whether the quota throttles"):
            quota.throttling()
    parent = write(tmp_path / "2", V2) / "sys/fs/cgroup/user.slice/one"
    with Quota(0.5, root=tmp_path / "2"):
        (group,) = (entry for entry in parent.iterdir() if entry.is_dir())
        assert (group / "cpu.max").read_text() == "50000 100000"
        assert (parent / "cgroup.subtree_control").read_text() == "+cpu"


@pytest.mark.parametrize("cpus", [0.0, -1.0, float("nan")])
def test_a_quota_of_nothing_is_refused(cpus: float) -> None:
    with pytest.raises(InvalidOption, match=r"a number of CPUs from 0\.01"):
        Quota(cpus)


def test_a_quota_that_cannot_be_set_says_how_it_could(tmp_path: Path) -> None:
    root = write(tmp_path, {name: text for name, text in V2.items() if "subtree" not in name})
    with pytest.raises(ConditionNotMet, match="systemd-run --user --scope"), Quota(1.0, root=root):
        pass


def writable_cpu_group() -> bool:
    group = find_cpu_group()
    return group is not None and os.access(group.folder, os.W_OK) and os.geteuid() == 0


real_quota = pytest.mark.skipif(not writable_cpu_group(), reason="needs root and a writable cgroup with controller cpu")


@pytest.mark.root
@real_quota
def test_a_real_quota_throttles_and_goes_away() -> None:
    group = find_cpu_group()
    assert group is not None
    before = set(group.folder.iterdir())
    with Quota(0.25) as quota:
        seen = quota.verify()
        assert "stopped in" in seen
        assert quota.throttling().throttled_seconds > 0
        busy = start_busy()
        try:
            quota.add(busy.pid)
            used = cpu_seconds_of(busy.pid)
            time.sleep(1.0)
            assert cpu_seconds_of(busy.pid) - used < 0.6
        finally:
            busy.kill()
            busy.communicate()
    assert set(group.folder.iterdir()) == before


@pytest.mark.root
@real_quota
def test_a_quota_larger_than_the_machine_is_not_in_force() -> None:
    with Quota(4.0 * (os.cpu_count() or 1)) as quota, pytest.raises(ConditionNotMet, match="does not throttle"):
        quota.verify()


class FakeProcess:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stdout = None
        self.killed = False

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> int:
        return -9


def neighbours(shares: list[float], start: Any = None, **options: Any) -> tuple[Neighbours, list[FakeProcess]]:
    """Neighbours that get these CPUs."""
    processes = [FakeProcess(pid) for pid in range(len(shares))]
    left, now = list(processes), [0.0]
    found = Neighbours(
        len(shares),
        **options,
        start=start or (lambda: left.pop(0)),
        cpu_seconds=lambda pid: now[0] * shares[pid],
        clock=lambda: now[0],
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
    )
    return found, processes


def test_neighbours_are_seen_to_work_and_end_with_the_block() -> None:
    busy, processes = neighbours([0.5, 0.75])
    with busy:
        assert busy.verify() == pytest.approx(1.25)
        assert not any(process.killed for process in processes)
    assert all(process.killed for process in processes)


def test_a_neighbour_that_gets_nothing_is_no_neighbour() -> None:
    busy, _ = neighbours([0.9, 0.0])
    with busy, pytest.raises(ConditionNotMet, match=r"got 0\.90, 0\.00 CPUs"):
        busy.verify()


def test_neighbours_that_rest_every_other_while_are_watched_for_both() -> None:
    busy, _ = neighbours([0.5, 0.08], every=2.0)
    with busy:
        assert busy.verify() == pytest.approx(0.58)
        assert busy._clock() == pytest.approx(4.0)
    busy, _ = neighbours([0.5, 0.0], every=2.0)
    with busy, pytest.raises(ConditionNotMet, match=r"got 0\.50, 0\.00 CPUs"):
        busy.verify()
    busy, _ = neighbours([0.5, 1.0], every=2.0)
    with busy, pytest.raises(ConditionNotMet, match=r"got 1\.00 CPUs each: they do not rest"):
        busy.verify()


def test_neighbours_get_their_niceness_or_say_why_not() -> None:
    given: list[tuple[int, int]] = []
    busy, _ = neighbours([0.5, 0.5], nice=-10, renice=lambda pid, nice: given.append((pid, nice)))
    with busy:
        assert given == [(0, -10), (1, -10)]

    def refuse(pid: int, nice: int) -> None:
        raise PermissionError(13, "Permission denied")

    busy, processes = neighbours([0.5], nice=-10, renice=refuse)
    with pytest.raises(ConditionNotMet, match=r"niceness -10: Permission denied\. Less than 0 takes root"), busy:
        pass
    assert processes[0].killed


def test_a_neighbour_that_has_ended_is_told() -> None:
    busy, _ = neighbours([0.5])

    def gone(pid: int) -> float:
        raise ProcessLookupError("no such process")

    busy._cpu_seconds = gone
    with busy, pytest.raises(ConditionNotMet, match="has ended by itself"):
        busy.verify()


def test_neighbours_that_cannot_be_started_leave_none_behind() -> None:
    started = [FakeProcess(0)]

    def start() -> Any:
        if len(started) == 2:
            raise OSError("no more processes")
        started.append(FakeProcess(1))
        return started[-1]

    busy, _ = neighbours([1.0, 1.0, 1.0], start)
    with pytest.raises(ConditionNotMet, match="3 busy neighbours cannot be started: no more processes"), busy:
        pass
    assert started[1].killed


def test_a_real_neighbour_uses_the_cpu_until_the_end() -> None:
    with create(Condition(neighbours=1)) as surroundings:
        seen = surroundings.start()
        assert seen.startswith("neighbours got ")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_real_neighbour_comes_and_goes_and_is_nice() -> None:
    with Neighbours(1, nice=5, every=0.1) as busy:
        pid = busy._processes[0].pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == 5
        used, rests, deadline = cpu_seconds_of(pid), sleeps_of(pid), time.monotonic() + 120
        while time.monotonic() < deadline and (cpu_seconds_of(pid) - used < 0.05 or sleeps_of(pid) - rests < 2):
            time.sleep(0.05)
        assert cpu_seconds_of(pid) - used >= 0.05
        assert sleeps_of(pid) - rests >= 2


def sleeps_of(pid: int) -> int:
    """How often a process has given its CPU away by itself."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_neighbour_dies_with_a_parent_that_is_killed() -> None:
    code = "from llamasmith.lab.pressure.busy import start_busy; print(start_busy().pid, flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        watch = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([watch], [], [], 60)[0]  # readable once the process has ended
    finally:
        os.close(watch)


# What only the samples can show.


def cell(condition: Condition, **sample: Any) -> CellResult:
    found = World({"a": 100.0}).run(experiment("a")).cells[0]
    found.arms[0].samples = [replace(one, **sample) for one in found.arms[0].samples]
    return replace(found, condition=condition)


def test_sessions_that_do_not_meet_are_not_in_force() -> None:
    two = Condition(sessions=2)
    assert check_afterwards(cell(two, overlap=0.95)) is None
    assert check_afterwards(cell(two, overlap=0.3)) == "The sessions did not work at the same time."
    assert check_afterwards(cell(two)) is not None


def test_threads_that_all_have_a_cpu_are_not_too_many() -> None:
    many = Condition(oversubscribe=2)
    assert check_afterwards(cell(many), budget=1) is None
    assert "all name their own number" in str(check_afterwards(cell(many), budget=2))
    assert thread_budget().budget >= 1


def test_a_quota_that_never_stops_anybody_is_not_in_force() -> None:
    quota = Condition(quota=1.0)
    assert check_afterwards(cell(quota, throttled_seconds=0.2)) is None
    assert "has never stopped an arm" in str(check_afterwards(cell(quota)))
