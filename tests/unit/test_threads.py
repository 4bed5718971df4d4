"""The thread budget on recorded machines: the files of /proc and /sys that decide, written small."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamasmith.lab.pressure.cgroup import find_cpu_group
from llamasmith.lab.pressure.quota import Quota
from llamasmith.threads import Budget, Node, thread_budget

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CPU = "sys/devices/system/cpu"
V2_HOST = "32 31 0:29 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"


@dataclass(frozen=True)
class Machine:
    """Siblings by core, and whatever other files the machine has."""

    cores: list[list[int]]
    files: dict[str, str] = field(default_factory=dict)

    def write(self, root: Path) -> Path:
        cpus = sorted(cpu for core in self.cores for cpu in core)
        files = {f"{CPU}/online": f"{cpus[0]}-{cpus[-1]}\n"}
        for number, core in enumerate(self.cores):
            for cpu in core:
                files[f"{CPU}/cpu{cpu}/topology/thread_siblings_list"] = ",".join(map(str, core)) + "\n"
                files[f"{CPU}/cpu{cpu}/topology/core_id"] = f"{number}\n"
                files[f"{CPU}/cpu{cpu}/topology/physical_package_id"] = "0\n"
        for name, text in {**files, **self.files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return root

    def budget(self, root: Path, affinity: set[int] | None = None) -> Budget:
        everything = {cpu for core in self.cores for cpu in core}
        return thread_budget(self.write(root), everything if affinity is None else affinity)


def cgroup(line: str, mounts: str, limits: dict[str, str]) -> dict[str, str]:
    return {"proc/self/cgroup": line + "\n", "proc/self/mountinfo": mounts + "\n", **limits}


def with_capacities(by_cpu: list[int]) -> dict[str, str]:
    return {f"{CPU}/cpu{cpu}/cpu_capacity": f"{value}\n" for cpu, value in enumerate(by_cpu)}


def with_nodes(*nodes: Iterable[int]) -> dict[str, str]:
    """Node after node, each with these CPUs; one without any has memory alone."""
    return {f"sys/devices/system/node/node{n}/cpulist": ",".join(map(str, cpus)) + "\n" for n, cpus in enumerate(nodes)}


def single(count: int) -> list[list[int]]:
    return [[cpu] for cpu in range(count)]


VM_2_CORES = Machine(single(2))
SMT_PAIRS = Machine([[2 * n, 2 * n + 1] for n in range(8)])
EPYC_INTERLEAVED = Machine([[n, n + 32] for n in range(32)])
# Firmware may deal out the numbers in turns: even CPUs on one socket, odd ones on the other.
EPYC_2_SOCKETS = Machine([[n, n + 64] for n in range(64)], with_nodes(range(0, 128, 2), range(1, 128, 2)))
EVEN, ODD = tuple(range(0, 64, 2)), tuple(range(1, 64, 2))
# Firmware may number the kinds in turns, as this one does.
CORE_ULTRA_265K = Machine(
    single(20),
    {"sys/devices/cpu_core/cpus": "0-1,6-9,14-15\n", "sys/devices/cpu_atom/cpus": "2-5,10-13,16-19\n"},
)
CORE_13700K = Machine(
    [[2 * n, 2 * n + 1] for n in range(8)] + [[cpu] for cpu in range(16, 24)],
    {"sys/devices/cpu_core/cpus": "0-15\n", "sys/devices/cpu_atom/cpus": "16-23\n"},
)
RK3588 = Machine(single(8), with_capacities([414] * 4 + [1024] * 4))
THREE_KINDS = Machine(single(8), with_capacities([250] * 4 + [870] * 3 + [1024]))


@pytest.mark.parametrize(
    ("machine", "affinity", "cpus"),
    [
        pytest.param(VM_2_CORES, None, (0, 1), id="2-core VM"),
        pytest.param(SMT_PAIRS, None, (0, 2, 4, 6, 8, 10, 12, 14), id="8 cores, 16 threads"),
        pytest.param(EPYC_INTERLEAVED, None, tuple(range(32)), id="EPYC, siblings 32 apart"),
        pytest.param(EPYC_INTERLEAVED, {0, 1, 32, 33}, (0, 1), id="cpuset of two whole cores"),
        pytest.param(EPYC_INTERLEAVED, {40, 41, 9}, (9, 40), id="cpuset with one core's two halves"),
        pytest.param(CORE_ULTRA_265K, None, (0, 1, 6, 7, 8, 9, 14, 15), id="Core Ultra 265K"),
        pytest.param(CORE_13700K, None, (0, 2, 4, 6, 8, 10, 12, 14), id="13700K"),
        pytest.param(CORE_13700K, {16, 17, 18}, (16, 17, 18), id="13700K, confined to efficiency cores"),
        pytest.param(CORE_13700K, {0, 1, 2, 20}, (0, 2), id="13700K, a mixed mask"),
        pytest.param(RK3588, None, (4, 5, 6, 7), id="RK3588"),
        pytest.param(RK3588, {0, 1}, (0, 1), id="RK3588, confined to little cores"),
        pytest.param(THREE_KINDS, None, (4, 5, 6, 7), id="little, middle and one big core"),
    ],
)
def test_cores_that_count(machine: Machine, affinity: set[int] | None, cpus: tuple[int, ...], tmp_path: Path) -> None:
    budget = machine.budget(tmp_path, affinity)
    assert (budget.cpus, budget.budget, budget.quota) == (cpus, len(cpus), None)


@pytest.mark.parametrize(
    ("machine", "affinity", "nodes"),
    [
        pytest.param(EPYC_2_SOCKETS, None, (Node(0, EVEN), Node(1, ODD)), id="two sockets, in turns"),
        pytest.param(
            EPYC_2_SOCKETS, {0, 64, 1, 65, 3, 67}, (Node(1, (1, 3)), Node(0, (0,))), id="the node with most comes first"
        ),
        pytest.param(EPYC_2_SOCKETS, {70, 6, 71}, (Node(0, (6,)), Node(1, (71,))), id="siblings count once"),
        pytest.param(
            Machine(single(6), with_nodes([0, 5], [], [2, 3, 4], [1])),
            None,
            (Node(2, (2, 3, 4)), Node(0, (0, 5)), Node(3, (1,))),
            id="a node of memory alone",
        ),
        pytest.param(Machine(single(3), with_nodes([0, 1, 2], [1, 2])), None, (Node(0, (0, 1, 2)),), id="in two nodes"),
        pytest.param(VM_2_CORES, None, (), id="no nodes are told"),
    ],
)
def test_numa_nodes_stay_together(
    machine: Machine, affinity: set[int] | None, nodes: tuple[Node, ...], tmp_path: Path
) -> None:
    budget = machine.budget(tmp_path, affinity)
    together = tuple(cpu for node in nodes for cpu in node.cpus)
    assert budget.nodes == nodes
    assert budget.cpus == (together or (0, 1))
    assert budget.budget == len(budget.cpus)


def test_cpus_whose_node_is_not_known_come_last(tmp_path: Path) -> None:
    budget = Machine(single(4), with_nodes([2, 3])).budget(tmp_path)
    assert (budget.cpus, budget.nodes) == ((2, 3, 0, 1), (Node(0, (2, 3)),))


@pytest.mark.parametrize(
    ("quota", "n_threads", "reason"),
    [
        ("765000", 7, "7 threads fit on node 0 of 2 NUMA nodes"),
        ("50000", 1, "1 thread fits on node 0 of 2 NUMA nodes"),
        ("3200000", 32, "32 threads fit on node 0 of 2 NUMA nodes"),
        ("4000000", 40, "the cores are on 2 NUMA nodes, and it takes all of them"),
        ("max", 64, "the cores are on 2 NUMA nodes, and it takes all of them"),
    ],
)
def test_part_of_a_machine_with_nodes(quota: str, n_threads: int, reason: str, tmp_path: Path) -> None:
    limits = cgroup("0::/", V2_HOST, {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})
    budget = Machine(EPYC_2_SOCKETS.cores, {**EPYC_2_SOCKETS.files, **limits}).budget(tmp_path)
    assert (budget.budget, budget.reasons[-1]) == (n_threads, reason)
    assert budget.cpus[:n_threads] == (EVEN + ODD)[:n_threads]


def test_three_of_four_nodes(tmp_path: Path) -> None:
    limits = cgroup("0::/", V2_HOST, {"sys/fs/cgroup/cpu.max": "600000 100000\n"})
    nodes = with_nodes([0, 1], [2, 3], [4, 5], [6, 7])
    budget = Machine(single(8), {**nodes, **limits}).budget(tmp_path)
    assert budget.reasons[-1] == "6 threads fit on nodes 0, 1, 2 of 4 NUMA nodes"


POD = "/kubepods/burstable/pod1/box"
V1_HOST = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "quota", "expected", "file"),
    [
        pytest.param(
            cgroup(
                f"0::{POD}",
                V2_HOST,
                {
                    f"sys/fs/cgroup{POD}/cpu.max": "max 100000\n",
                    "sys/fs/cgroup/kubepods/burstable/pod1/cpu.max": "765000 100000\n",
                    "sys/fs/cgroup/kubepods/burstable/cpu.max": "9600000 100000\n",
                },
            ),
            7.65,
            7,
            "/sys/fs/cgroup/kubepods/burstable/pod1/cpu.max",
            id="v2, the least is a parent's",
        ),
        pytest.param(
            cgroup("0::/", V2_HOST, {"sys/fs/cgroup/cpu.max": "765000 100000\n"}),
            7.65,
            7,
            "/sys/fs/cgroup/cpu.max",
            id="v2, a container with its own cgroup namespace",
        ),
        pytest.param(
            cgroup(
                f"0::{POD}/inner",
                f"32 31 0:29 {POD} /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
                {"sys/fs/cgroup/inner/cpu.max": "50000 100000\n", "sys/fs/cgroup/cpu.max": "400000 100000\n"},
            ),
            0.5,
            1,
            "/sys/fs/cgroup/inner/cpu.max",
            id="v2, the mount shows a lower part, and half a CPU is 1 thread",
        ),
        pytest.param(
            cgroup("0::/../other", V2_HOST, {"sys/fs/cgroup/cpu.max": "200000 100000\n"}),
            2.0,
            2,
            "/sys/fs/cgroup/cpu.max",
            id="v2, the process is outside of the mount's root",
        ),
        pytest.param(
            cgroup(
                f"4:memory:/elsewhere\n3:cpu,cpuacct:{POD}\n0::/",
                V1_HOST,
                {
                    f"sys/fs/cgroup/cpu,cpuacct{POD}/cpu.cfs_quota_us": "-1\n",
                    f"sys/fs/cgroup/cpu,cpuacct{POD}/cpu.cfs_period_us": "100000\n",
                    "sys/fs/cgroup/cpu,cpuacct/kubepods/cpu.cfs_quota_us": "75000\n",
                    "sys/fs/cgroup/cpu,cpuacct/kubepods/cpu.cfs_period_us": "50000\n",
                },
            ),
            1.5,
            1,
            "/sys/fs/cgroup/cpu,cpuacct/kubepods/cpu.cfs_quota_us",
            id="v1, another period",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/cpu.max": "300000 100000\n"},
            3.0,
            3,
            "/sys/fs/cgroup/box/cpu.max",
            id="no mountinfo",
        ),
    ],
)
def test_quota(files: dict[str, str], quota: float, expected: int, file: str, tmp_path: Path) -> None:
    budget = Machine(single(96), files).budget(tmp_path)
    assert (budget.quota, budget.budget) == (quota, expected)
    assert f"({file})" in budget.reasons[-1]
    assert len(budget.cpus) == 96


def test_reasons_are_sentences_for_people(tmp_path: Path) -> None:
    limits = cgroup("0::/", V2_HOST, {"sys/fs/cgroup/cpu.max": "150000 100000\n"})
    machine = Machine(CORE_13700K.cores, {**CORE_13700K.files, **limits})
    assert machine.budget(tmp_path, {0, 1, 2, 3, 16, 17}).reasons == (
        "the affinity mask (taskset, cpuset) allows 6 of 24 CPUs",
        "they are 4 physical cores: SMT siblings share one, and count once",
        "2 of the 4 are performance cores: they would wait for the 2 efficiency cores at every barrier",
        "cgroup quota of 1.5 CPUs (/sys/fs/cgroup/cpu.max), rounded down to 1",
    )


def test_a_large_quota_changes_nothing(tmp_path: Path) -> None:
    limits = cgroup("0::/", V2_HOST, {"sys/fs/cgroup/cpu.max": "1600000 100000\n"})
    assert Machine(single(4), limits).budget(tmp_path).budget == 4


def test_core_ids_where_siblings_are_not_told(tmp_path: Path) -> None:
    machine = Machine([[0, 1], [2, 3]]).write(tmp_path)
    for file in machine.rglob("thread_siblings_list"):
        file.unlink()
    assert thread_budget(machine, {0, 1, 2, 3}).cpus == (0, 2)


def test_an_empty_machine_gives_what_the_mask_says(tmp_path: Path) -> None:
    assert thread_budget(tmp_path, {3, 5}) == Budget(2, ("2 CPUs online",), (3, 5), None, most=2)


def test_the_real_machine() -> None:
    budget = thread_budget()
    assert 1 <= budget.budget <= len(budget.cpus)
    assert budget.reasons


@pytest.mark.root
@pytest.mark.skipif(
    os.geteuid() != 0 or (group := find_cpu_group()) is None or not os.access(group.folder, os.W_OK),
    reason="needs root and a writable cgroup with controller cpu",
)
@pytest.mark.parametrize(("quota", "n_threads"), [(0.5, 1), (1.0, 1), (1.5, 1)])
def test_a_real_quota(quota: float, n_threads: int) -> None:
    code = """
import sys
from llamasmith import thread_budget
sys.stdin.readline()
budget = thread_budget()
print(budget.quota, budget.budget, budget.reasons[-1])
"""
    with Quota(quota) as limit:
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )
        limit.add(child.pid)
        said, _ = child.communicate("\n", timeout=60)
    assert said.startswith(f"{quota} {n_threads} cgroup quota of {quota:g} CPU"), said


GARBLED = [
    f"{CPU}/online",
    f"{CPU}/cpu0/topology/thread_siblings_list",
    f"{CPU}/cpu0/cpu_capacity",
    "sys/devices/cpu_core/cpus",
    "sys/devices/system/node/node0/cpulist",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "sys/fs/cgroup/cpu.max",
]
WORDS = st.sampled_from(
    ["max", "-1", "nan", "inf", "1e400", "0", "0-", "9-1", "0-99999999999", "\0", "::", " - ", "\udcff"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(WORDS, st.text(max_size=12)), min_size=len(GARBLED), max_size=len(GARBLED)))
def test_garbled_files_never_raise(tmp_path: Path, texts: list[str]) -> None:
    limits = cgroup("0::/", V2_HOST, {})
    Machine(single(2), limits).write(tmp_path)
    (tmp_path / "sys/devices/system/node/nodeX").mkdir(parents=True, exist_ok=True)
    for name, text in zip(GARBLED, texts, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    budget = thread_budget(tmp_path, {0, 1})
    assert 1 <= budget.budget <= len(budget.cpus)
    assert set(budget.cpus) <= {0, 1}
