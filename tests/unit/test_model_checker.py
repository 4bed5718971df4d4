"""The checker behind the protocols' tests: what it must find, it finds, and shows how it came about."""

from __future__ import annotations

import pytest
from model_checker import Thread, Violation, explore
from model_words import Words


def test_a_state_from_which_only_a_spurious_wake_up_leads_on_is_stuck() -> None:
    words = Words(word=0, bed=0)

    def sleeper() -> Thread:
        yield from words.park("bed", "word", 0)

    with pytest.raises(Violation, match="the end is out of reach"):
        explore([sleeper], words.initial)


def test_a_violation_shows_a_shortest_interleaving() -> None:
    words = Words(n=0)

    def adds() -> Thread:
        n = yield words.load("n")
        yield words.store("n", n + 1)

    with pytest.raises(Violation) as caught:
        explore([adds, adds], words.initial, at_end=lambda shared: None if shared == (2,) else "one was lost")
    lost, *trace = str(caught.value).splitlines()
    assert lost == "one was lost"
    assert sorted(trace) == ["thread 0: load n", "thread 0: n = 1", "thread 1: load n", "thread 1: n = 1"]
