"""What sessions and models leave behind in memory: nothing that grows, and one copy of a model's file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and asks glibc to give memory back")

GROWTH_MB = 2.0

SESSIONS = """
import ctypes, gc, sys
from llamasmith import Model, Session
from llamasmith import samplers as s

def rss():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free, but kept by the C library for later, is no growth
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6

model = Model(sys.argv[1])

def use(count, how):
    for i in range(count):
        session = Session(model, n_ctx=256, n_threads=2)
        session.decode([1, 40 + i % 8])
        session.generate([1, 5], max_tokens=2, temperature=0)
        if how == "states":
            session.load_state(session.save_state())
        elif how == "samplers":
            chain = s.sampler_chain(model, [s.Grammar("root ::= [a-z]*"), s.Greedy()])
            session.generate([1, 40], max_tokens=2, samplers=chain)
        elif how == "errors":
            try:
                session.decode([10**6])
            except ValueError:
                pass
        if i % 2:
            session.close()

use(100, sys.argv[2])
before = rss()
use(int(sys.argv[3]), sys.argv[2])
print(rss() - before)
"""


@pytest.mark.parametrize("how", ["plain", "states", "samplers", "errors"])
def test_a_thousand_sessions(tiny_path: Path, run_python: Any, how: str) -> None:
    result = run_python(SESSIONS, tiny_path, how, "1000" if how == "plain" else "150", timeout=300)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < GROWTH_MB, f"{float(result.stdout):.2f} MB more"


MODELS = """
import ctypes, gc, sys
from llamasmith import Model
def rss():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6
def use(count):
    for _ in range(count):
        model = Model(sys.argv[1])
        model.tokenize("hello world")
        model.close()
use(50)
before = rss()
use(300)
print(rss() - before)
"""


def test_models_that_come_and_go(tiny_path: Path, run_python: Any) -> None:
    result = run_python(MODELS, tiny_path, timeout=300)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < GROWTH_MB, f"{float(result.stdout):.2f} MB more"


SHARED = """
import sys
from llamasmith import Model, Session

def mapped(path):
    sizes, ours = {"Rss": 0, "Pss": 0}, False
    for line in open("/proc/self/smaps"):
        head = line.split()
        if "-" in head[0] and not head[0].endswith(":"):
            ours = line.rstrip().endswith(path)
        elif ours and head[0].rstrip(":") in sizes:
            sizes[head[0].rstrip(":")] += int(head[1])
    return sizes

one = Model(sys.argv[1], load_mode="mmap", use_extra_bufts=False)
with Session(one, n_ctx=64, n_threads=1) as session:
    session.decode([1, 40])
first = mapped(sys.argv[1])
two = Model(sys.argv[1], load_mode="mmap", use_extra_bufts=False)
with Session(two, n_ctx=64, n_threads=1) as session:
    session.decode([1, 40])
both = mapped(sys.argv[1])
print(first["Rss"], first["Pss"], both["Rss"], both["Pss"])
"""


def test_a_model_opened_twice_has_its_pages_once(tiny_path: Path, run_python: Any) -> None:
    result = run_python(SHARED, tiny_path)
    assert result.returncode == 0, result.stderr
    rss, _, both_rss, both_pss = map(int, result.stdout.split())
    assert rss > 100  # KiB: it is mapped, and used
    assert both_rss > 1.5 * rss  # by both
    assert both_pss < 0.6 * both_rss  # the same pages: each counts half for each mapping
