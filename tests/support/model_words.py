"""Shared words by name, and the atomic operations on them, for the threads of model_checker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model_checker import Op, never

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_checker import Shared, Thread

__all__ = ["Words", "always"]


def always(shared: Shared) -> bool:
    return True


class Words:
    def __init__(self, **initial: int) -> None:
        self.index = {name: i for i, name in enumerate(initial)}
        self.initial: Shared = tuple(initial.values())

    def get(self, shared: Shared, name: str) -> int:
        return shared[self.index[name]]

    def put(self, shared: Shared, name: str, value: int) -> Shared:
        i = self.index[name]
        return (*shared[:i], value, *shared[i + 1 :])

    def load(self, name: str, settled: Callable[[Shared], bool] = never) -> Op:
        """`settled`: nobody will change it any more."""
        i = self.index[name]
        return Op(f"load {name}", lambda shared: ((shared[i], shared),), local=settled)

    def has_come(self, name: str, value: int) -> Op:
        """A load of a word that only grows: whether it is `value` at least, which stays so."""
        i = self.index[name]
        return Op(f"load {name}", lambda shared: ((shared[i] >= value, shared),), local=lambda s: s[i] >= value)

    def store(self, name: str, value: int, local: Callable[[Shared], bool] = never) -> Op:
        return Op(f"{name} = {value}", lambda shared: ((None, self.put(shared, name, value)),), local)

    def add(self, name: str, n: int) -> Op:
        def apply(shared: Shared) -> Any:
            value = self.get(shared, name)
            return ((value, self.put(shared, name, value + n)),)

        return Op(f"{name} += {n}", apply)

    def exchange(self, name: str, value: int) -> Op:
        return Op(
            f"exchange {name}, {value}", lambda shared: ((self.get(shared, name), self.put(shared, name, value)),)
        )

    def compare_exchange(self, name: str, old: int, new: int) -> Op:
        def apply(shared: Shared) -> Any:
            if self.get(shared, name) == old:
                return ((True, self.put(shared, name, new)),)
            return ((False, shared),)

        return Op(f"compare-exchange {name}, {old}, {new}", apply)

    def until(self, what: str, name: str, value: int) -> Op:
        i = self.index[name]
        return Op(f"wait until {what}", lambda shared: ((None, shared),) if shared[i] == value else ())

    def lie_down(self, bed: str, word: str, old: int) -> Op:
        """The kernel's futex compares and falls asleep in one. `bed` says whether the thread sleeps there."""

        def apply(shared: Shared) -> Any:
            if self.get(shared, word) != old:
                return ((False, shared),)
            return ((True, self.put(shared, bed, 1)),)

        return Op(f"sleep if {word} is {old}", apply)

    def rise(self, bed: str) -> Op:
        """Nobody has woken it as long as the bed is in use: a signal, then, or no reason at all."""
        i = self.index[bed]
        up = self.put
        return Op(f"rise from {bed}", lambda s: ((None, up(s, bed, 0)),), lambda s: s[i] == 0, lambda s: s[i] != 0)

    def park(self, bed: str, word: str, old: int) -> Thread:
        asleep = yield self.lie_down(bed, word, old)
        if asleep:
            yield self.rise(bed)
