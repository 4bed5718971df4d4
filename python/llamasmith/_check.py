"""Arguments, checked before they reach native code, where a number too large is only an unreadable TypeError."""

from __future__ import annotations

import operator
import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from .errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ["file_path", "integer", "known_names", "meta_values", "names", "number", "one_of", "token_ids", "utf8"]

INT32_MAX = 2**31 - 1


def integer(name: str, value: SupportsIndex, low: int, high: int, hint: str = "") -> int:
    """The value as an int between `low` and `high`. Raises InvalidOption, or TypeError for what is no whole number."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}.") from None
    if not low <= number <= high:
        raise InvalidOption(f"{name} is {number}. Allowed: {low} to {high}{hint}.")
    return number


def one_of(name: str, value: str, allowed: Collection[str]) -> str:
    """The value, if it is one of the words allowed. Raises InvalidOption."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidOption(f"{name} is {value!r}. Allowed: {', '.join(allowed)}.")
    return value


def known_names(given: Iterable[str], known: Collection[str], of: str) -> None:
    """Raises TypeError for a keyword argument that `of` does not have, with the one that may have been meant."""
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"There is no option {name!r} for {of}.{hint} There are: {', '.join(known)}.")


def utf8(text: str | bytes, what: str) -> str:
    """The text as a ``str`` that has an UTF-8 form. Raises InvalidOption for lone surrogates and invalid UTF-8."""
    if isinstance(text, bytes):
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidOption(
                f"The {what} is not valid UTF-8: {error}. Decode it first, with the right codec."
            ) from None
    if not isinstance(text, str):
        raise TypeError(f"The {what} must be str or bytes, not {type(text).__name__}.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidOption(
            f"The {what} holds a lone surrogate (U+{ord(text[error.start]):04X} at index {error.start}), which is no "
            f"character. It often comes from reading with errors='surrogateescape': use the right codec."
        ) from None
    return text


def token_ids(tokens: Sequence[int] | np.ndarray[Any, Any]) -> list[int]:
    """Token ids as a list of ints that native code can hold; the vocabulary's bounds are checked there."""
    try:
        array = np.asarray(tokens)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidOption(f"The tokens are not a list of token ids: {error}.") from None
    if array.size == 0:
        return []
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidOption(
            f"The tokens must be a flat list of ints, not {array.ndim} dimensions of {array.dtype}. "
            f"Text becomes tokens with Model.tokenize()."
        )
    worst = next((int(t) for t in (array.min(), array.max()) if not -INT32_MAX <= int(t) <= INT32_MAX), None)
    if worst is not None:
        raise InvalidOption(f"Token {worst} is not in any vocabulary.")
    ids: list[int] = array.tolist()
    return ids


def number(name: str, value: float) -> float:
    """The value as a float. Raises TypeError for what is no number; bounds, and NaN, are checked in native code."""
    if isinstance(value, (bool, str, bytes)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}.")
    try:
        return float(value)
    except OverflowError:
        raise InvalidOption(f"{name} is {value}, which no floating-point number holds.") from None
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}.") from None


def names(option: str, values: Sequence[str]) -> list[str]:
    """A list of names. Raises TypeError for one name in place of a list."""
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{option} must be a list of names, not {type(values).__name__}.")
    return [utf8(value, option) for value in values]


def meta_values(values: Mapping[str, bool | int | float | str]) -> list[tuple[str, bool | int | float | str]]:
    """Metadata of a GGUF file as pairs. Raises InvalidOption, or TypeError for other kinds of values."""
    pairs: list[tuple[str, bool | int | float | str]] = []
    for key, value in values.items():
        name = utf8(key, "key")
        if isinstance(value, str):
            pairs.append((name, utf8(value, f"value of {name}")))
        elif isinstance(value, (bool, float)):
            pairs.append((name, value))
        else:
            pairs.append((name, integer(name, value, -(2**63), 2**63 - 1)))
    return pairs


def file_path(path: str | os.PathLike[str]) -> str:
    """The path as a text that a file system knows. Raises InvalidOption for a NUL in it."""
    text = os.fspath(path)
    if "\0" in text:
        raise InvalidOption("The path holds a NUL character, which no file name has.")
    return text
