"""Explores all interleavings of a few threads that share atomic words: a small explicit-state model checker.

A thread is a generator that yields operations (`Op`) and is sent their results. Each operation is one step that no
other thread can divide, and all threads see all steps in one order: sequential consistency. What a generator will do
depends on nothing but its place in the code and its local variables, all down the chain of `yield from`; so threads
that are at the same place with the same locals are in the same state, and there are finitely many. Two rules follow:
locals must be hashable, and `yield` stands alone at the right of an assignment or a test, so that no half-evaluated
expression hides a value.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Explored", "Op", "Thread", "Violation", "explore"]

Shared = tuple[int, ...]
Thread = Generator["Op", Any, Any]
BITS = 16  # of the number of a thread's state
ENDED = (1 << BITS) - 1


class Violation(Exception):
    """The protocol is wrong; the message says how, and by which interleaving."""


@dataclass(frozen=True, eq=False)
class Op:
    """One indivisible operation: from the shared words to what it may give and leave behind; nothing if it has to wait.

    A `local` one changes nothing that others look at, and is done together with the operation before it. Progress may
    not depend on one that is a `gift`: a wake-up that nobody has sent.
    """

    name: str
    apply: Callable[[Shared], Sequence[tuple[Any, Shared]]]
    local: bool = False
    gift: Callable[[Shared], bool] | None = None


@dataclass(frozen=True)
class Explored:
    states: int
    moves: int


class Automaton:
    """A thread's states, numbered as they are found, by running its generator again up to each new one."""

    def __init__(self, start: Callable[[], Thread]) -> None:
        self.start = start
        self.ops: list[Op] = []
        self.after: dict[tuple[int, Any], int] = {}
        self.numbers: dict[Any, int] = {}
        self.histories: list[tuple[Any, ...]] = []
        self.first = self.number(())

    def number(self, history: tuple[Any, ...]) -> int:
        thread = self.start()
        try:
            op = next(thread)
            for result in history:
                op = thread.send(result)
        except StopIteration:
            return ENDED
        key = tuple(place(thread))
        if key not in self.numbers:
            self.numbers[key] = len(self.ops)
            self.ops.append(op)
            self.histories.append(history)
        return self.numbers[key]

    def move(self, state: int, result: Any) -> int:
        known = self.after.get((state, result))
        if known is None:
            known = self.after[state, result] = self.number((*self.histories[state], result))
        return known


def place(thread: Any) -> Iterator[Any]:
    while thread is not None:
        yield thread.gi_code, thread.gi_frame.f_lasti
        yield from thread.gi_frame.f_locals.items()
        thread = thread.gi_yieldfrom


class Moves:
    """What each operation makes of each state of the shared words; states of the words are numbered too."""

    def __init__(self, threads: Sequence[Callable[[], Thread]], shared: Shared) -> None:
        self.automata = [Automaton(start) for start in threads]
        self.words = [shared]
        self.numbers = {shared: 0}
        self.known: list[dict[int, tuple[tuple[int, int], ...]]] = [{} for _ in threads]

    def of(self, ith: int, at: int, number: int) -> tuple[tuple[int, int], ...]:
        """The thread's next places, each with the number of the words then."""
        key = number << BITS | at
        known = self.known[ith].get(key)
        if known is None:
            automaton = self.automata[ith]
            known = tuple(
                self.with_local_ones(automaton, automaton.move(at, result), changed)
                for result, changed in automaton.ops[at].apply(self.words[number])
            )
            self.known[ith][key] = known
        return known

    def with_local_ones(self, automaton: Automaton, at: int, shared: Shared) -> tuple[int, int]:
        while at != ENDED and automaton.ops[at].local:
            ((result, shared),) = automaton.ops[at].apply(shared)
            at = automaton.move(at, result)
        if shared not in self.numbers:
            self.numbers[shared] = len(self.words)
            self.words.append(shared)
        return at, self.numbers[shared]

    def gives(self, ith: int, at: int, number: int) -> bool:
        gift = self.automata[ith].ops[at].gift
        return gift is not None and gift(self.words[number])


def explore(
    threads: Sequence[Callable[[], Thread]],
    shared: Shared,
    always: Callable[[Shared], str | None] = lambda shared: None,
    at_end: Callable[[Shared], str | None] = lambda shared: None,
    limit: int = 1_000_000,
) -> Explored:
    """Raises Violation if a reachable state is wrong, or one from which the end, of all threads, is out of reach.

    `always` and `at_end` say what is wrong with the shared words, in every state and in the last ones.
    """
    moves = Moves(threads, shared)
    shifts = [BITS * ith for ith in range(len(threads))]
    top = BITS * len(threads)  # a state: number of the words | place of the last thread | ... | place of the first
    everyone = range(len(threads))
    states = [sum(automaton.first << shift for automaton, shift in zip(moves.automata, shifts, strict=True))]
    found = {states[0]: 0}
    came = [-1]  # from which state each was found first
    # Moves that are no gifts, as one linked list for each state that they lead to: plain numbers, for their mass.
    latest, earlier, origin = array("q", [-1]), array("q"), array("q")
    ended_all = sum(ENDED << shift for shift in shifts)
    ends = []
    checked = 0  # of the states of the words

    def wrong(what: str, number: int, *last: str) -> Violation:
        """With the shortest interleaving that leads there."""
        lines = list(last)
        while came[number] >= 0:
            lines.append(move_between(came[number], number))
            number = came[number]
        return Violation("\n".join([what, *reversed(lines)]))

    def move_between(before: int, after: int) -> str:
        for ith in everyone:
            at = states[before] >> shifts[ith] & ENDED
            others = ~(ENDED << shifts[ith]) & ((1 << top) - 1)
            if at != ENDED and states[before] & others == states[after] & others:
                for then, words in moves.of(ith, at, states[before] >> top):
                    if (words, then) == (states[after] >> top, states[after] >> shifts[ith] & ENDED):
                        return f"thread {ith}: {moves.automata[ith].ops[at].name}"
        raise AssertionError("no such move")

    for number, state in enumerate(states):  # grows as it goes: breadth first, so a trace is a shortest one
        words = state >> top
        if state & ((1 << top) - 1) == ended_all:
            ends.append(number)
            if complaint := at_end(moves.words[words]):
                raise wrong(complaint, number)
        for ith in everyone:
            shift = shifts[ith]
            at = state >> shift & ENDED
            if at == ENDED:
                continue
            try:
                nexts = moves.known[ith].get(words << BITS | at) or moves.of(ith, at, words)
            except Violation as violation:
                op = moves.automata[ith].ops[at].name
                raise wrong(str(violation), number, f"thread {ith}: {op}") from None
            if not nexts:
                continue
            given = moves.gives(ith, at, words)
            others = state & ~(ENDED << shift) & ((1 << top) - 1)
            for then, changed in nexts:
                after = changed << top | others | then << shift
                known = found.get(after)
                if known is None:
                    known = found[after] = len(states)
                    states.append(after)
                    came.append(number)
                    latest.append(-1)
                if not given:
                    earlier.append(latest[known])
                    origin.append(number)
                    latest[known] = len(origin) - 1
            for checked in range(checked, len(moves.words)):
                if complaint := always(moves.words[checked]):
                    raise wrong(complaint, len(states) - 1)
            checked = len(moves.words)
        assert len(states) < limit, f"more than {limit} states: the model is too large"

    reached = bytearray(len(states))
    while ends:
        number = ends.pop()
        if not reached[number]:
            reached[number] = 1
            edge = latest[number]
            while edge >= 0:
                ends.append(origin[edge])
                edge = earlier[edge]
    stuck = reached.find(0)
    if stuck >= 0:
        places = [states[stuck] >> shift & ENDED for shift in shifts]
        held = [f"thread {i} at: {moves.automata[i].ops[at].name}" for i, at in enumerate(places) if at != ENDED]
        raise wrong("from here the end is out of reach, with " + "; ".join(held), stuck)
    return Explored(len(states), len(origin))
