"""Upstream's ggml_barrier() with smith_release() and park() of src/threading/wait.{h,c}, for model_checker.

A thread that spins is one that the scheduler does not run: spinning is left out.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from model_checker import Explored, Op, Shared, Thread, Violation, explore
from model_words import Words, always

__all__ = ["Barrier"]


class Barrier:
    """`n_threads` threads that meet `n_meetings` times. Wrong variants override a method."""

    def __init__(self, n_threads: int, n_meetings: int) -> None:
        self.n_threads = n_threads
        self.n_meetings = n_meetings
        self.words = Words(
            n_barrier=0, n_passed=0, n_parked=0,
            **{f"bed{i}": 0 for i in range(n_threads)},  # whether the kernel has the thread asleep
            **{f"ghost_come{i}": 0 for i in range(n_threads)},  # for the proof alone: to how many meetings
        )  # fmt: skip
        self.come = [self.words.index[f"ghost_come{i}"] for i in range(n_threads)]
        self.beds = [self.words.index[f"bed{i}"] for i in range(n_threads)]

    # -- what is to be proved

    def comes(self, ith: int, meeting: int) -> Op:
        return self.words.store(f"ghost_come{ith}", meeting, always)

    def passes(self, ith: int, meeting: int) -> Op:
        def apply(shared: Shared) -> Any:
            if any(shared[i] < meeting for i in self.come):
                raise Violation(f"thread {ith} passes meeting {meeting} before all have come")
            return ((None, shared),)

        return Op(f"pass meeting {meeting}", apply, always)

    def always(self, shared: Shared) -> str | None:
        asleep = sum(shared[i] for i in self.beds)
        return "n_parked is less than the threads that sleep" if self.words.get(shared, "n_parked") < asleep else None

    def at_end(self, shared: Shared) -> str | None:
        return None if self.words.get(shared, "n_parked") == 0 else "n_parked is not 0 at the end"

    def explore(self) -> Explored:
        threads = [partial(self.thread, ith) for ith in range(self.n_threads)]
        return explore(threads, self.words.initial, self.always, self.at_end)

    def thread(self, ith: int) -> Thread:
        for meeting in range(1, self.n_meetings + 1):
            yield self.comes(ith, meeting)
            yield from self.barrier(ith)
            yield self.passes(ith, meeting)

    # -- ggml-cpu.c

    def barrier(self, ith: int) -> Thread:
        n_passed = yield self.words.load("n_passed")
        n_barrier = yield self.words.add("n_barrier", 1)
        if n_barrier == self.n_threads - 1:
            yield from self.let_go()
        else:
            yield from self.wait_while(ith, n_passed)

    def let_go(self) -> Thread:
        yield self.words.store("n_barrier", 0)
        yield self.words.add("n_passed", 1)
        yield from self.release()

    # -- wait.h, wait.c

    def release(self) -> Thread:
        n_parked = yield self.words.load("n_parked")
        if n_parked > 0:
            yield self.unpark()

    def unpark(self) -> Op:
        """The kernel wakes all that sleep on the word."""

        def apply(shared: Shared) -> Any:
            return ((None, tuple(0 if i in self.beds else word for i, word in enumerate(shared))),)

        return Op("wake all", apply)

    def wait_while(self, ith: int, old: int) -> Thread:
        n_passed = yield self.words.load("n_passed")
        if n_passed == old:
            yield from self.park(ith, old)

    def park(self, ith: int, old: int) -> Thread:
        yield self.words.add("n_parked", 1)
        while True:
            n_passed = yield self.words.load("n_passed")
            if n_passed != old:
                break
            yield from self.words.park(f"bed{ith}", "n_passed", old)
        yield self.words.add("n_parked", -1)
