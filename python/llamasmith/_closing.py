"""What has native memory or threads behind it is closed by `with`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

_Self = TypeVar("_Self", bound="Closing")


class Closing(ABC):
    """A base that makes `with` call `close()`."""

    @abstractmethod
    def close(self) -> None:
        """Gives back what is behind it; closing twice is allowed."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
