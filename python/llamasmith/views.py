"""Arrays over memory that llama.cpp writes anew: they end when it does, instead of showing something else."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .errors import OutputExpired

__all__ = ["View"]

# numpy's attributes that lead to the memory itself, past all checks.
_NOT_OURS = frozenset({"base", "ctypes", "data", "flat"})


class View(NDArrayOperatorsMixin):
    """Logits or embeddings of a context, read where llama.cpp keeps them.

    Behaves as a read-only numpy array until the context evaluates something else, is reset or closed; from then on,
    every use raises OutputExpired. Parts of it (`view[3]`) are views too; what numpy computes from it is an array of
    its own. ``np.asarray(view)`` copies. ``np.asarray(view, copy=False)`` does not, and gives an array that cannot tell
    when it is no longer true: while such a one is alive, the context refuses work for which the memory would have to
    move.
    """

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._held: np.ndarray[Any, Any] | None = array
        self._parts: weakref.WeakSet[View] = weakref.WeakSet()

    __hash__ = object.__hash__  # the mixin's == compares values, and takes it away

    def _expire(self) -> None:
        self._held = None
        for part in self._parts:
            part._expire()

    @property
    def _array(self) -> np.ndarray[Any, Any]:
        if self._held is None:
            raise OutputExpired(
                "These outputs are no longer there: the context has evaluated something else since, or was closed. "
                "Read them before that, or take them with copy=True."
            )
        return self._held

    def _own(self, result: Any) -> Any:
        """A result that shares our memory as a view, any other one as it is."""
        if isinstance(result, np.ndarray) and result.base is not None and np.may_share_memory(result, self._array):
            part = View(result)
            self._parts.add(part)
            return part
        return result

    @property
    def expired(self) -> bool:
        """Whether every further use raises OutputExpired."""
        return self._held is None

    @property
    def shape(self) -> tuple[int, ...]:
        sizes: tuple[int, ...] = self._array.shape
        return sizes

    @property
    def ndim(self) -> int:
        return self._array.ndim

    @property
    def size(self) -> int:
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = self._array.dtype
        return kind

    def copy(self) -> np.ndarray[Any, Any]:
        """An array to keep."""
        kept: np.ndarray[Any, Any] = self._array.copy()
        return kept

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            if dtype is not None and np.dtype(dtype) != self.dtype:
                raise ValueError(f"A view of {self.dtype} cannot be had as {np.dtype(dtype)} without a copy.")
            return self._array
        return np.array(self._array, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self._own(getattr(ufunc, method)(*map(_plain, inputs), **{k: _plain(v) for k, v in kwargs.items()}))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self._own(function(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()}))

    def __getitem__(self, key: Any) -> Any:
        return self._own(self._array[key])

    def __len__(self) -> int:
        return len(self._array)

    def __getattr__(self, name: str) -> Any:
        """numpy's methods: max(), argmax(), sum(), astype(), tolist() and so on."""
        if name.startswith("_") or name in _NOT_OURS:
            raise AttributeError(f"A View has no {name!r}. Take an array of your own with copy().")
        found = getattr(self._array, name)
        if not callable(found):
            return self._own(found)
        return lambda *args, **kwargs: self._own(getattr(self._array, name)(*args, **kwargs))

    def __repr__(self) -> str:
        return "<llamasmith.View expired>" if self._held is None else f"<llamasmith.View {self._held!r}>"


def _plain(value: Any) -> Any:
    if isinstance(value, View):
        return value._array
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value
