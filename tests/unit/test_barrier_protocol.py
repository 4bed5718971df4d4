"""The protocol of the barrier in src/threading/wait.c, explored as in test_step_protocol.py: no lost wake-up."""

from __future__ import annotations

from typing import Any

import pytest
from barrier_model import Barrier
from model_checker import Op, Shared, Thread, Violation


@pytest.mark.parametrize(("n_threads", "n_meetings"), [(2, 4), (3, 2)])
def test_the_barrier_loses_no_wake_up(n_threads: int, n_meetings: int) -> None:
    assert Barrier(n_threads, n_meetings).explore().states > 100


class CountsAfterItsLook(Barrier):
    def park(self, ith: int, old: int) -> Thread:
        while True:
            n_passed = yield self.words.load("n_passed")
            if n_passed != old:
                return
            yield self.words.add("n_parked", 1)
            yield from self.words.park(f"bed{ith}", "n_parked", 1)  # a word that says nothing about the barrier
            yield self.words.add("n_parked", -1)


class StopsCountingBeforeItSleeps(Barrier):
    def park(self, ith: int, old: int) -> Thread:
        yield self.words.add("n_parked", 1)
        yield self.words.add("n_parked", -1)
        while True:
            n_passed = yield self.words.load("n_passed")
            if n_passed != old:
                return
            yield from self.words.park(f"bed{ith}", "n_passed", old)


class SleepsWithoutComparing(Barrier):
    def park(self, ith: int, old: int) -> Thread:
        yield self.words.add("n_parked", 1)
        while True:
            n_passed = yield self.words.load("n_passed")
            if n_passed != old:
                break
            yield self.words.store(f"bed{ith}", 1)
            yield self.words.rise(f"bed{ith}")
        yield self.words.add("n_parked", -1)


class LooksForSleepersFirst(Barrier):
    def let_go(self) -> Thread:
        yield self.words.store("n_barrier", 0)
        n_parked = yield self.words.load("n_parked")
        yield self.words.add("n_passed", 1)
        if n_parked > 0:
            yield self.unpark()


class WakesOneOnly(Barrier):
    def unpark(self) -> Op:
        def apply(shared: Shared) -> Any:
            for i in self.beds:
                if shared[i]:
                    return ((None, (*shared[:i], 0, *shared[i + 1 :])),)
            return ((None, shared),)

        return Op("wake one", apply)


class SetsTheCountBackTooLate(Barrier):
    def let_go(self) -> Thread:
        yield self.words.add("n_passed", 1)
        yield self.words.store("n_barrier", 0)
        yield from self.release()


WRONG_BARRIERS = {
    CountsAfterItsLook: "the end is out of reach",
    StopsCountingBeforeItSleeps: "n_parked is less",
    SleepsWithoutComparing: "the end is out of reach",
    LooksForSleepersFirst: "the end is out of reach",
    WakesOneOnly: "the end is out of reach",
    SetsTheCountBackTooLate: "the end is out of reach",
}


@pytest.mark.parametrize("wrong", WRONG_BARRIERS, ids=lambda wrong: wrong.__name__)
def test_one_thing_wrong_in_the_barrier_is_found(wrong: type[Barrier]) -> None:
    with pytest.raises(Violation, match=WRONG_BARRIERS[wrong]):
        wrong(3, 2).explore()
