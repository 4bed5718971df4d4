"""The protocol of src/threading/steps.c at the level of its atomic operations, function by function, for model_checker.

Left out is what takes no part in it: computing itself, counters, clocks, and spinning and yielding. A thread that
spins is one that the scheduler does not run: it may go on when something has changed, or stop spinning and sleep.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from model_checker import Explored, Op, Shared, Thread, Violation, explore
from model_words import Words, always

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AWAKE", "NAPS", "PAUSE", "SLEEPS", "STOP", "Graph", "Step", "Steps", "Upstream", "share"]

AWAKE, NAPS, SLEEPS = 0, 1, 2
NO_GRAPH = 0
PAUSE, STOP = "pause", "stop"


@dataclass(frozen=True)
class Step:
    pieces: int
    gather: bool = False
    after: tuple[int, ...] = ()
    """So many threads become active, one number after another, once the step is done. In share.c thread 0 does so; here
    whoever ends the step."""


@dataclass(frozen=True)
class Graph:
    """Computed by steps. With one active thread there are none: it computes all on its way."""

    n_active: int
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Upstream:
    """A graph that is computed by upstream's loop."""

    n_threads: int


def share(*pieces: int) -> tuple[Step, ...]:
    return tuple(Step(n) for n in pieces)


class Steps:
    """One pool: thread 0 does what `story` says, the workers whatever comes. Wrong variants override a method."""

    takes_late = True

    def __init__(self, n_threads: int, story: tuple[Graph | Upstream | str, ...]) -> None:
        self.n_threads = n_threads
        self.story = story
        self.steps: list[Step] = [Step(0)]  # by `what`; 0 is NO_GRAPH
        self.firsts: dict[int, int] = {}  # the first `what` of the story's graph of this number
        self.next: dict[int, int] = {NO_GRAPH: NO_GRAPH}
        for number, act in enumerate(story):
            if isinstance(act, Graph):
                self.firsts[number] = len(self.steps) if act.steps else NO_GRAPH
                for step in act.steps:
                    self.steps.append(step)
                    self.next[len(self.steps) - 1] = len(self.steps)
                if act.steps:
                    self.next[len(self.steps) - 1] = NO_GRAPH
        pieces = max(step.pieces for step in self.steps)
        self.words = Words(
            step=1, what0=NO_GRAPH, what1=NO_GRAPH, n_active=1, n_asleep=0, on=0, leave=0, n_done=0,
            **{f"claimed{i}": 0 for i in range(pieces)},
            **{f"asleep{i}": AWAKE for i in range(n_threads)},
            **{f"bed{i}": 0 for i in range(n_threads)},  # whether the kernel has the thread asleep
            pause=0, stop=0, **{f"work{i}": 0 for i in range(1, n_threads)}, at_barrier=0,  # upstream's
            ghost_last=0, ghost_what=NO_GRAPH, ghost_begun=0, ghost_ended=0,  # for the proof alone: pieces in bits
        )  # fmt: skip
        last = self.words.index["ghost_last"]
        self.settled = lambda shared: shared[last] != 0  # `on` and `n_active` stay: the last graph has begun
        self.last_has_begun = Op("the last graph has begun", self.put_last, local=always)
        self.naps = [self.words.index[f"asleep{i}"] for i in range(n_threads)]

    # -- what is to be proved

    def begins(self, step: int, what: int, piece: int) -> Op:
        def apply(shared: Shared) -> Any:
            get = self.words.get
            if get(shared, "step") != step or get(shared, "ghost_what") != what:
                raise Violation(f"piece {piece} of step {step} begins when that step is not the present one")
            if get(shared, "ghost_begun") >> piece & 1:
                raise Violation(f"piece {piece} of step {step} is computed twice")
            return ((None, self.words.put(shared, "ghost_begun", get(shared, "ghost_begun") | 1 << piece)),)

        return Op(f"begin piece {piece}", apply, local=always)

    def put_last(self, shared: Shared) -> Any:
        return ((None, self.words.put(shared, "ghost_last", 1)),)

    def counts_as_done(self, piece: int) -> Op:
        """The end of a piece, and the count that follows it."""

        def apply(shared: Shared) -> Any:
            words = self.words
            shared = words.put(shared, "ghost_ended", words.get(shared, "ghost_ended") | 1 << piece)
            n_done = words.get(shared, "n_done") + 1
            return ((n_done, words.put(shared, "n_done", n_done)),)

        return Op(f"end piece {piece}, n_done += 1", apply)

    def change_step(self, step: int, what: int) -> Op:
        def apply(shared: Shared) -> Any:
            words = self.words
            every = (1 << self.steps[words.get(shared, "ghost_what")].pieces) - 1
            if words.get(shared, "ghost_begun") != every or words.get(shared, "ghost_ended") != every:
                raise Violation(f"step {step} ends before all its pieces have")
            if words.get(shared, "step") != step:
                raise Violation(f"step {step} ends twice")
            for name, value in (("ghost_begun", 0), ("ghost_ended", 0), ("at_barrier", 0), ("ghost_what", what)):
                shared = words.put(shared, name, value)
            return ((None, words.put(shared, "step", step + 1)),)

        return Op(f"step = {step + 1}", apply)

    def always(self, shared: Shared) -> str | None:
        naps = sum(shared[i] == NAPS for i in self.naps)
        return "n_asleep is less than the threads that nap" if self.words.get(shared, "n_asleep") < naps else None

    def at_end(self, shared: Shared) -> str | None:
        for name in ("n_asleep", "n_done", "ghost_what", *(f"asleep{i}" for i in range(self.n_threads))):
            if self.words.get(shared, name) != 0:
                return f"{name} is not 0 at the end"
        return None

    def threads(self) -> list[Callable[[], Thread]]:
        return [self.leader, *(partial(self.worker, ith) for ith in range(1, self.n_threads))]

    def explore(self, limit: int = 1_000_000) -> Explored:
        return explore(self.threads(), self.words.initial, self.always, self.at_end, limit)

    # -- steps.c

    def look(self) -> Thread:
        while True:
            step = yield self.words.load("step")
            what = yield self.words.load(f"what{step & 1}")
            over = yield self.words.has_come("step", step + 1)
            if not over:
                return step, what
            del step, what, over

    def unpark(self, ith: int) -> Op:
        return self.words.store(f"bed{ith}", 0)

    def wake(self, ith: int) -> Thread:
        # with the look before the exchange, which does nothing by itself: the exchange decides anew
        was = yield self.words.exchange(f"asleep{ith}", AWAKE)
        if was == NAPS:
            yield self.words.add("n_asleep", -1)
        if was != AWAKE:
            yield self.unpark(ith)

    def must_leave(self) -> Thread:
        leave = yield self.words.load("leave")
        if leave:
            return True
        on = yield self.words.load("on", self.settled)
        return not on

    def is_active(self, ith: int) -> Thread:
        n_active = yield self.words.load("n_active", self.settled)
        return ith < n_active

    def lie_down(self, ith: int, naps: bool) -> Thread:
        """Count, then flag."""
        if naps:
            yield self.words.add("n_asleep", 1)
        yield self.words.store(f"asleep{ith}", NAPS if naps else SLEEPS)

    def nothing_new(self, ith: int, step: int, naps: bool) -> Thread:
        if naps:
            over = yield self.words.has_come("step", step + 1)
            nothing_new = not over
        else:
            active = yield from self.is_active(ith)
            nothing_new = not active
        if not nothing_new or ith == 0:
            return nothing_new
        leave = yield from self.must_leave()
        return not leave

    def get_up(self, ith: int) -> Thread:
        was = yield self.words.exchange(f"asleep{ith}", AWAKE)
        if was == NAPS:
            yield self.words.add("n_asleep", -1)

    def sleep(self, ith: int, sleep: int) -> Thread:
        while True:
            asleep = yield self.words.load(f"asleep{ith}", always)  # asleep: the kernel looks anew; awake: stays so
            if asleep != sleep:
                return
            yield from self.words.park(f"bed{ith}", f"asleep{ith}", sleep)

    def sleep_until_woken(self, ith: int, step: int) -> Thread:
        naps = yield from self.is_active(ith)
        yield from self.lie_down(ith, naps)
        nothing_new = yield from self.nothing_new(ith, step, naps)
        if nothing_new:
            yield from self.sleep(ith, NAPS if naps else SLEEPS)
        else:
            yield from self.get_up(ith)

    def publish(self, step: int, what: int) -> Thread:
        yield self.words.store(f"what{(step + 1) & 1}", what)
        yield self.change_step(step, what)
        n_asleep = yield self.words.load("n_asleep")
        if n_asleep > 0:
            yield from self.wake_active(what)

    def wake_active(self, what: int) -> Thread:
        yield from self.wake(0)
        if what != NO_GRAPH:
            n_active = yield self.words.load("n_active", self.settled)
            for ith in range(1, n_active):
                yield from self.wake(ith)

    def end_step(self, step: int, what: int) -> Thread:
        yield self.words.store("n_done", 0, always)  # whoever looked at it now would compute a piece twice
        yield from self.share_again(what)
        yield from self.publish(step, self.next[what])

    def share_again(self, what: int) -> Thread:
        for n_active in self.steps[what].after:
            yield from self.set_active(n_active)

    def compute_piece(self, step: int, what: int, piece: int) -> Thread:
        yield self.begins(step, what, piece)
        n_pieces = self.steps[what].pieces
        if self.steps[what].gather:  # a barrier of upstream's inside, for so many threads as there are pieces
            yield self.words.add("at_barrier", 1)
            yield self.words.until("all are at the barrier", "at_barrier", n_pieces)
        n_done = yield self.counts_as_done(piece)
        if n_done == n_pieces:
            yield from self.end_step(step, what)

    def claim(self, step: int, piece: int) -> Thread:
        claimed = self.words.index[f"claimed{piece}"]
        seen = yield self.words.load(f"claimed{piece}", settled=lambda shared: shared[claimed] >= step)
        if seen >= step:
            return False
        won = yield self.words.compare_exchange(f"claimed{piece}", seen, step)
        return won

    def compute_own(self, ith: int, step: int, what: int) -> Thread:
        n_active = yield self.words.load("n_active", self.settled)
        for piece in range(ith, self.steps[what].pieces, n_active):
            won = yield from self.claim(step, piece)
            if won:
                yield from self.compute_piece(step, what, piece)

    def look_for_late(self, ith: int, step: int, what: int, active: bool) -> Op:
        """Whether the step is over; else what comes next: taking a piece of another, or sleeping.

        Whose pieces a thread takes, and when, is a matter of clocks: here of any other, at any time, or never.
        """
        now = self.words.index["step"]
        late: list[int | None] = [None]
        if active and self.takes_late and not self.steps[what].gather:
            late += [piece for piece in range(self.steps[what].pieces) if piece != ith]

        def apply(shared: Shared) -> Any:
            return (((True, None), shared),) if shared[now] > step else [((False, piece), shared) for piece in late]

        return Op("load step", apply, lambda shared: shared[now] > step)

    def wait_for_step(self, ith: int, step: int, what: int) -> Thread:
        active = yield from self.is_active(ith)
        while True:
            over, piece = yield self.look_for_late(ith, step, what, active)
            if over:
                return
            if piece is not None:
                won = yield from self.claim(step, piece)
                if won:
                    yield from self.compute_piece(step, what, piece)
                    return
                del over, piece, won
                continue
            if what == NO_GRAPH:
                leave = yield from self.must_leave()
                if leave:
                    return
                del leave
            del over, piece
            yield from self.sleep_until_woken(ith, step)

    def set_active(self, n_active: int) -> Thread:
        before = yield self.words.exchange("n_active", n_active)
        for ith in range(before, n_active):
            yield from self.wake(ith)

    def compute(self, number: int, n_active: int) -> Thread:
        yield from self.set_active(n_active)
        graph = self.story[number]
        assert isinstance(graph, Graph)
        if number == len(self.story) - 1 and not any(step.after for step in graph.steps):
            yield self.last_has_begun
        step, what = yield from self.look()
        what = self.firsts[number]
        if what != NO_GRAPH:
            yield from self.publish(step, what)
        while what != NO_GRAPH:
            step, what = yield from self.look()
            if what != NO_GRAPH:
                yield from self.compute_own(0, step, what)
                yield from self.wait_for_step(0, step, what)

    def serve(self, ith: int) -> Thread:
        on = yield self.words.load("on")
        if not on:
            return False
        while True:
            leave = yield from self.must_leave()
            if leave:
                return True
            step, what = yield from self.look()
            if what != NO_GRAPH:
                active = yield from self.is_active(ith)
                if active:
                    yield from self.compute_own(ith, step, what)
                del active
            yield from self.wait_for_step(ith, step, what)  # which begins with the same look as the one before the call
            del leave, step, what

    def call_out(self, leave: bool) -> Thread:
        yield self.words.store("leave", leave)
        for ith in range(1, self.n_threads):
            yield from self.wake(ith)

    # -- wait.c (smith_begin) and the call sites in ggml-cpu.c

    def begin(self, on: bool) -> Thread:
        was = yield self.words.exchange("on", on)
        if was and not on:
            yield from self.call_out(False)

    def kick_off(self, n_threads: int) -> Thread:
        for ith in range(1, n_threads):
            yield self.words.store(f"work{ith}", 1)
        pause = yield self.words.load("pause")
        if pause:
            yield from self.call_out(False)
            yield self.words.store("pause", 0)

    def leader(self) -> Thread:
        for number, act in enumerate((*self.story, STOP)):
            if isinstance(act, Graph):
                yield from self.begin(True)
                yield from self.kick_off(1)
                yield from self.compute(number, act.n_active)
            elif isinstance(act, Upstream):
                yield from self.begin(False)
                yield from self.kick_off(act.n_threads)
                yield self.words.until("all are at the barrier", "at_barrier", act.n_threads - 1)
                yield self.words.store("at_barrier", 0)
            elif act == PAUSE:
                yield self.words.store("pause", 1)
                yield from self.call_out(True)
            else:
                yield self.words.store("stop", 1)
                yield self.words.store("pause", 0)
                yield from self.call_out(True)

    def has_news(self, ith: int) -> Op:
        news = [self.words.index[name] for name in ("pause", "stop", "on", f"work{ith}")]
        return Op("wait for news", lambda shared: ((None, shared),) if any(shared[i] for i in news) else ())

    def worker(self, ith: int) -> Thread:
        """Upstream's: its polling and its condition variable, which lose nothing, are waiting until something holds."""
        while True:
            yield self.words.until("the pool is not paused", "pause", 0)
            stops = yield self.words.load("stop")
            if stops:
                return
            served = yield from self.serve(ith)
            if not served:
                yield self.has_news(ith)
                has_work = yield self.words.exchange(f"work{ith}", 0)
                if has_work:
                    yield self.words.add("at_barrier", 1)
                del has_work
            del stops, served
