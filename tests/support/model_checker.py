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

__all__ = ["Explored", "Op", "Thread", "Violation", "explore", "never"]

Shared = tuple[int, ...]
Thread = Generator["Op", Any, Any]
BITS = 16  # of the number of a thread's state
ENDED = (1 << BITS) - 1


def never(shared: Shared) -> bool:
    return False


class Violation(Exception):
    """The protocol is wrong; the message says how, and by which interleaving."""


@dataclass(frozen=True, eq=False)
class Op:
    """One indivisible operation: from the shared words to what it may give and leave behind; nothing if it has to wait.

    One that is `local` for the present words does nothing that others could tell, and gives what it would give at any
    later time: it is done together with the operation before it, which loses no interleaving that matters. Progress
    may not depend on one that is a `gift` for the present words: a wake-up that nobody has sent.
    """

    name: str
    apply: Callable[[Shared], Sequence[tuple[Any, Shared]]]
    local: Callable[[Shared], bool] = never
    gift: Callable[[Shared], bool] = never


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
    """What the operations make of the states. A state is one number, as there are very many of them:

    number of the state of the words | number of the last thread's state | ... | number of the first thread's state
    """

    def __init__(self, threads: Sequence[Callable[[], Thread]], shared: Shared) -> None:
        self.automata = [Automaton(start) for start in threads]
        self.words = [shared]
        self.numbers = {shared: 0}
        self.shifts = [BITS * ith for ith in range(len(threads))]
        self.top = BITS * len(threads)
        self.first = sum(a.first << shift for a, shift in zip(self.automata, self.shifts, strict=True))
        self.ended = (1 << self.top) - 1
        self.others = [self.ended & ~(ENDED << shift) for shift in self.shifts]
        self.known: list[dict[int, tuple[bool, tuple[int, ...]]]] = [{} for _ in threads]

    def of(self, ith: int, state: int) -> tuple[bool, tuple[int, ...]]:
        """Whether the thread's move is a gift, and what each of its results puts in place of thread and words."""
        at, words = state >> self.shifts[ith] & ENDED, state >> self.top
        automaton = self.automata[ith]
        op = automaton.ops[at]
        given = op.gift(self.words[words])
        nexts = [self.with_local_ones(ith, automaton.move(at, r), now) for r, now in op.apply(self.words[words])]
        self.known[ith][words << BITS | at] = given, tuple(nexts)
        return given, tuple(nexts)

    def with_local_ones(self, ith: int, at: int, shared: Shared) -> int:
        automaton = self.automata[ith]
        while at != ENDED and automaton.ops[at].local(shared):
            ((result, shared),) = automaton.ops[at].apply(shared)
            at = automaton.move(at, result)
        number = self.numbers.setdefault(shared, len(self.words))
        if number == len(self.words):
            self.words.append(shared)
        return number << self.top | at << self.shifts[ith]

    def name(self, ith: int, state: int) -> str:
        return f"thread {ith}: {self.automata[ith].ops[state >> self.shifts[ith] & ENDED].name}"

    def between(self, before: int, after: int) -> str:
        for ith, others in enumerate(self.others):
            runs = before >> self.shifts[ith] & ENDED != ENDED
            if runs and any(before & others | then == after for then in self.of(ith, before)[1]):
                return self.name(ith, before)
        raise AssertionError("no such move")


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
    top = moves.top
    plan = list(zip(range(len(threads)), moves.shifts, moves.others, moves.known, strict=True))
    states = [moves.first]
    found = {moves.first: 0}
    came = [-1]  # from which state each was found first
    # For each state the moves, but gifts, that lead to it: linked lists in plain arrays, for their mass.
    latest, earlier, origin = array("q", [-1]), array("q"), array("q")
    ends = []
    n_checked = 0  # states of the words

    def wrong(what: str, number: int, *last: str) -> Violation:
        """With a shortest interleaving that leads there."""
        lines = list(last)
        while came[number] >= 0:
            lines.append(moves.between(states[came[number]], states[number]))
            number = came[number]
        return Violation("\n".join([what, *reversed(lines)]))

    for number, state in enumerate(states):  # grows as it goes: breadth first
        words = state >> top
        if state & moves.ended == moves.ended:
            ends.append(number)
            if complaint := at_end(moves.words[words]):
                raise wrong(complaint, number)
        for ith, shift, others, known in plan:
            at = state >> shift & ENDED
            if at == ENDED:
                continue
            try:
                given, nexts = known.get(words << BITS | at) or moves.of(ith, state)
            except Violation as violation:
                raise wrong(str(violation), number, moves.name(ith, state)) from None
            for then in nexts:
                after = state & others | then
                there = found.get(after)
                if there is None:
                    there = found[after] = len(states)
                    states.append(after)
                    came.append(number)
                    latest.append(-1)
                if not given:
                    earlier.append(latest[there])
                    latest[there] = len(origin)
                    origin.append(number)
            while n_checked < len(moves.words):
                if complaint := always(moves.words[n_checked]):
                    raise wrong(complaint, len(states) - 1)
                n_checked += 1
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
        held = [moves.name(ith, states[stuck]) for ith, shift, *_ in plan if states[stuck] >> shift & ENDED != ENDED]
        raise wrong("the end is out of reach once this has happened, with next " + "; ".join(held), stuck)
    return Explored(len(states), len(origin))
