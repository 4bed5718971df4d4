"""The protocol of src/threading/steps.c: no lost wake-up, no piece twice or left out.

All interleavings are explored, spurious wake-ups included, and the end must be in reach from every state without one:
a lost wake-up is then impossible, not just unlikely. That is under sequential consistency, which C11 grants to the
operations on `step`, `asleep`, `n_asleep`, `n_active`, `leave` and `on` that take part in falling asleep and waking
up: all are seq_cst there. Weaker orders are argued, not explored:

- `what` is stored before `step` (release) and loaded before the second look at `step` (acquire): whoever reads the
  word of step s + 2 also sees that step s is over.
- `n_done` is raised with acquire and release, so the finisher sees what all pieces wrote, and its publication of the
  next step hands that on to whoever looks at `step` (acquire). It is set back before that publication.
- `claimed` decides by compare-exchange alone; one word has one order of changes, and it only grows.
- The relaxed look at `step` in the waiting loop is followed by an acquiring one before anything is computed.
- `n_active` is read relaxed by threads that have seen a step, which was published after it was set. It may be set for
  the next step already; then all pieces of this one have been claimed.
- `abort` may be seen late, and `absent` only says whose pieces are worth a try: the model tries any, at any time.
"""

from __future__ import annotations

from typing import Any

import pytest
from model_checker import Op, Thread, Violation
from step_model import AWAKE, NAPS, NO_GRAPH, PAUSE, SLEEPS, Graph, Step, Steps, Upstream, share

GATHER = Step(2, gather=True)
GATHER_3 = Step(3, gather=True)
STORIES = {
    "a worker becomes active": (2, (Graph(1), Graph(2, (Step(2), GATHER)), Graph(1), Graph(2, (Step(3), GATHER)))),
    "two graphs": (2, (Graph(2, (Step(3), GATHER, Step(1))), Graph(2, (GATHER, Step(2))))),
    "paused between graphs": (2, (Graph(2, (Step(2), GATHER)), PAUSE, Graph(2, (GATHER, Step(3))))),
    "paused at the end": (2, (Graph(2, (Step(2), GATHER)), PAUSE)),
    "to upstream's loop and back": (2, (Upstream(2), Graph(2, (Step(2), GATHER)), Upstream(2), Graph(2, (GATHER,)))),
    "paused, then upstream's": (2, (Graph(2, share(3)), PAUSE, Upstream(2), PAUSE, Graph(1), Graph(2, (GATHER,)))),
    "upstream's does not need it": (2, (Graph(2, share(2)), Upstream(1), Graph(2, (GATHER,)))),
    "three threads": (3, (Graph(3, share(3)),)),
    "three that must all arrive": (3, (Graph(3, (GATHER_3, Step(1))),)),
    "pieces of a thread that is not active": (3, (Graph(2, (Step(3), GATHER)),)),
    "fewer and more in a graph": (
        2,
        (Graph(2, (Step(2, after=(1, 2)), GATHER, Step(2, after=(1,)), Step(2, after=(2,)))),),
    ),
    "one more in a graph": (
        2,
        (Graph(1, (Step(2, after=(2,)), GATHER)), PAUSE, Graph(2, (Step(2, after=(1,)), Step(1)))),
    ),
    "one less at the end of a graph": (2, (Graph(2, (GATHER, Step(2, after=(1,)))), Graph(2, (GATHER,)))),
    "a third in a graph": (3, (Graph(2, (Step(2, after=(3,)), GATHER_3)),)),
    "a third becomes active": (3, (Graph(2, (GATHER,)), Graph(3, (GATHER_3,)))),
}
ALL_AT_ONCE = (Upstream(2), Graph(2, (Step(3), GATHER, Step(1))), PAUSE, Graph(1), Graph(2, (GATHER, Step(2))))


@pytest.mark.parametrize(("n_threads", "story"), STORIES.values(), ids=STORIES)
def test_every_run_ends_and_computes_each_piece_once(n_threads: int, story: tuple[Any, ...]) -> None:
    assert Steps(n_threads, story).explore().states > 500


def test_no_worker_relies_on_others_taking_its_pieces() -> None:
    class Patient(Steps):
        takes_late = False

    Patient(2, ALL_AT_ONCE).explore()


# -- a checker that cannot fail proves nothing: the protocol with one thing wrong


class LooksBeforeTheFlag(Steps):
    def sleep_until_woken(self, ith: int, step: int) -> Thread:
        naps = yield from self.is_active(ith)
        nothing_new = yield from self.nothing_new(ith, step, naps)
        yield from self.lie_down(ith, naps)
        if nothing_new:
            yield from self.sleep(ith, NAPS if naps else SLEEPS)
        else:
            yield from self.get_up(ith)


class DoesNotLookAgain(Steps):
    def nothing_new(self, ith: int, step: int, naps: bool) -> Thread:
        return True
        yield


class DoesNotLookWhetherItMustLeave(Steps):
    def nothing_new(self, ith: int, step: int, naps: bool) -> Thread:
        nothing_new = yield from super().nothing_new(0, step, naps)
        return nothing_new


class FlagsBeforeItCounts(Steps):
    def lie_down(self, ith: int, naps: bool) -> Thread:
        yield self.words.store(f"asleep{ith}", NAPS if naps else SLEEPS)
        if naps:
            yield self.words.add("n_asleep", 1)


class FlagsBeforeItCountsAndDoesNotLookAgain(FlagsBeforeItCounts, DoesNotLookAgain):
    pass


class DoesNotCount(Steps):
    def lie_down(self, ith: int, naps: bool) -> Thread:
        yield self.words.store(f"asleep{ith}", NAPS if naps else SLEEPS)


class LooksAtTheCountFirst(Steps):
    def publish(self, step: int, what: int) -> Thread:
        n_asleep = yield self.words.load("n_asleep")
        yield self.words.store(f"what{(step + 1) & 1}", what)
        yield self.change_step(step, what)
        if n_asleep > 0:
            yield from self.wake_active(what)


class WakesWithoutExchange(Steps):
    def wake(self, ith: int) -> Thread:
        was = yield self.words.load(f"asleep{ith}")
        if was == AWAKE:
            return
        yield self.words.store(f"asleep{ith}", AWAKE)
        if was == NAPS:
            yield self.words.add("n_asleep", -1)
        yield self.unpark(ith)


class GetsUpWithoutExchange(Steps):
    def get_up(self, ith: int) -> Thread:
        was = yield self.words.load(f"asleep{ith}")
        yield self.words.store(f"asleep{ith}", AWAKE)
        if was == NAPS:
            yield self.words.add("n_asleep", -1)


class StaysCountedWhenItGetsUp(Steps):
    def get_up(self, ith: int) -> Thread:
        yield self.words.exchange(f"asleep{ith}", AWAKE)


class WakesNobodyInTheKernel(Steps):
    def unpark(self, ith: int) -> Op:
        return self.words.add(f"bed{ith}", 0)


class UnparksBeforeItChangesTheFlag(Steps):
    def wake(self, ith: int) -> Thread:
        yield self.unpark(ith)
        was = yield self.words.exchange(f"asleep{ith}", AWAKE)
        if was == NAPS:
            yield self.words.add("n_asleep", -1)


class WakesOnlyThread0(Steps):
    def wake_active(self, what: int) -> Thread:
        yield from self.wake(0)


class WakesNobodyAtTheEnd(Steps):
    def wake_active(self, what: int) -> Thread:
        if what != NO_GRAPH:
            yield from super().wake_active(what)


class DoesNotWakeWhoBecomesActive(Steps):
    def set_active(self, n_active: int) -> Thread:
        yield self.words.exchange("n_active", n_active)


class WakesWhoBecomesActiveTooEarly(Steps):
    def set_active(self, n_active: int) -> Thread:
        before = yield self.words.load("n_active")
        for ith in range(before, n_active):
            yield from self.wake(ith)
        yield self.words.exchange("n_active", n_active)


class SharesAgainTooLate(Steps):
    def end_step(self, step: int, what: int) -> Thread:
        yield self.words.store("n_done", 0)
        yield from self.publish(step, self.next[what])
        yield from self.share_again(what)


class CallsOutTooEarly(Steps):
    def call_out(self, leave: bool) -> Thread:
        for ith in range(1, self.n_threads):
            yield from self.wake(ith)
        yield self.words.store("leave", leave)


class ClaimsWithoutCompareExchange(Steps):
    def claim(self, step: int, piece: int) -> Thread:
        seen = yield self.words.load(f"claimed{piece}")
        if seen >= step:
            return False
        yield self.words.store(f"claimed{piece}", step)
        return True


class ClaimsOfAnOldStep(Steps):
    def claim(self, step: int, piece: int) -> Thread:
        seen = yield self.words.load(f"claimed{piece}")
        if seen == step:
            return False
        won = yield self.words.compare_exchange(f"claimed{piece}", seen, step)
        return won


class SetsTheCountOfPiecesBackTooLate(Steps):
    def end_step(self, step: int, what: int) -> Thread:
        yield from self.publish(step, self.next[what])
        yield self.words.store("n_done", 0)


class EndsAStepOnePieceTooEarly(Steps):
    def compute_piece(self, step: int, what: int, piece: int) -> Thread:
        yield self.begins(step, what, piece)
        n_done = yield self.counts_as_done(piece)
        if n_done == max(1, self.steps[what].pieces - 1):
            yield from self.end_step(step, what)


class HasOneWordForWhat(Steps):
    def look(self) -> Thread:
        while True:
            step = yield self.words.load("step")
            what = yield self.words.load("what0")
            over = yield self.words.has_come("step", step + 1)
            if not over:
                return step, what
            del step, what, over

    def publish(self, step: int, what: int) -> Thread:
        yield self.words.store("what0", what)
        yield self.change_step(step, what)
        n_asleep = yield self.words.load("n_asleep")
        if n_asleep > 0:
            yield from self.wake_active(what)


class LooksAtTheStepOnce(Steps):
    def look(self) -> Thread:
        step = yield self.words.load("step")
        what = yield self.words.load(f"what{step & 1}")
        return step, what


class ChangesTheStepBeforeWhat(Steps):
    def publish(self, step: int, what: int) -> Thread:
        yield self.change_step(step, what)
        yield self.words.store(f"what{(step + 1) & 1}", what)
        n_asleep = yield self.words.load("n_asleep")
        if n_asleep > 0:
            yield from self.wake_active(what)


class LeavesPiecesOfTheInactive(Steps):
    takes_late = False

    def compute_own(self, ith: int, step: int, what: int) -> Thread:
        if ith < self.steps[what].pieces:
            won = yield from self.claim(step, ith)
            if won:
                yield from self.compute_piece(step, what, ith)


class BeginsWithoutCallingOut(Steps):
    def begin(self, on: bool) -> Thread:
        yield self.words.exchange("on", on)


class ResumesWithoutCallingIn(Steps):
    def kick_off(self, n_threads: int) -> Thread:
        for ith in range(1, n_threads):
            yield self.words.store(f"work{ith}", 1)
        yield self.words.store("pause", 0)


WRONG = {
    LooksBeforeTheFlag: "the end is out of reach",
    DoesNotLookAgain: "the end is out of reach",
    DoesNotLookWhetherItMustLeave: "the end is out of reach",
    FlagsBeforeItCounts: "n_asleep is less",
    FlagsBeforeItCountsAndDoesNotLookAgain: "n_asleep is less",
    DoesNotCount: "n_asleep is less",
    LooksAtTheCountFirst: "the end is out of reach",
    WakesWithoutExchange: "n_asleep is less",
    GetsUpWithoutExchange: "n_asleep is less",
    StaysCountedWhenItGetsUp: "n_asleep is not 0 at the end",
    WakesNobodyInTheKernel: "the end is out of reach",
    UnparksBeforeItChangesTheFlag: "the end is out of reach",
    WakesOnlyThread0: "the end is out of reach",
    WakesNobodyAtTheEnd: "the end is out of reach",
    DoesNotWakeWhoBecomesActive: "the end is out of reach",
    WakesWhoBecomesActiveTooEarly: "the end is out of reach",
    CallsOutTooEarly: "the end is out of reach",
    ClaimsWithoutCompareExchange: "computed twice",
    ClaimsOfAnOldStep: "begins when that step is not the present one",
    SetsTheCountOfPiecesBackTooLate: "the end is out of reach",
    EndsAStepOnePieceTooEarly: "ends before all its pieces have",
    HasOneWordForWhat: "begins when that step is not the present one",
    LooksAtTheStepOnce: "begins when that step is not the present one",
    ChangesTheStepBeforeWhat: "ends before all its pieces have",
    LeavesPiecesOfTheInactive: "the end is out of reach",
    BeginsWithoutCallingOut: "the end is out of reach",
    ResumesWithoutCallingIn: "the end is out of reach",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_one_thing_wrong_is_found(wrong: type[Steps]) -> None:
    with pytest.raises(Violation, match=WRONG[wrong]):  # noqa: PT012  # one of the two stories shows it
        wrong(2, ALL_AT_ONCE).explore()
        wrong(2, (*ALL_AT_ONCE, Upstream(2))).explore()


@pytest.mark.parametrize("wrong", [SharesAgainTooLate, DoesNotWakeWhoBecomesActive])
def test_threads_that_come_into_a_graph_too_late(wrong: type[Steps]) -> None:
    with pytest.raises(Violation, match="the end is out of reach"):
        wrong(2, (Graph(1, (Step(1, after=(2,)), GATHER)),)).explore()


def test_a_gathering_step_has_no_piece_for_a_thread_that_is_not_active() -> None:
    with pytest.raises(Violation, match="the end is out of reach"):
        Steps(3, (Graph(2, (GATHER_3,)),)).explore()


class PausedByAnother(Steps):
    """At any time in a graph, and resumed by nobody before the graph has ended."""

    def threads(self) -> list[Any]:
        return [*super().threads(), self.another]

    def another(self) -> Thread:
        yield self.words.until("a graph is under way", "ghost_last", 1)
        yield self.words.store("pause", 1)
        yield from self.call_out(True)

    def leader(self) -> Thread:
        yield from self.begin(True)
        yield from self.kick_off(1)
        yield from self.compute(0, 2)
        yield self.words.until("the pool is paused", "leave", 1)
        yield self.words.store("stop", 1)
        yield self.words.store("pause", 0)
        yield from self.call_out(True)


def test_pausing_has_to_wait_for_the_graph() -> None:
    """As ThreadPool.pause() does: a worker called out in the middle is missing where all must arrive."""
    with pytest.raises(Violation, match=r"the end is out of reach"):
        PausedByAnother(2, (Graph(2, (Step(2), GATHER)),)).explore()
