"""The peers: other libraries that run the same models, as arms by the same protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .keys import AUTO
from .worker.foreign import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .keys import Value

__all__ = ["PEERS", "Peer"]


@dataclass(frozen=True)
class Peer:
    """A peer. `values` are those that it takes of a setting of which it does not take all."""

    name: str
    values: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    takes_engine: bool = False

    @property
    def settings(self) -> frozenset[str]:
        """The names of the settings that it takes."""
        return SETTINGS[self.name]

    def takes(self, setting: str, value: Value) -> bool:
        """Whether this setting can be in force."""
        if (setting, value) == ("n_threads", AUTO):  # llamasmith's own thread budget
            return False
        return setting in self.settings and value in self.values.get(setting, (value,))

    def refusal(self, setting: str, value: Value) -> str | None:
        """Why it cannot, as the end of a sentence that has named both; None if it can."""
        if setting not in self.settings:
            return f"which {self.name} does not take here. It takes: {', '.join(sorted(self.settings))}."
        if value == AUTO and setting == "n_threads":
            return f"but {self.name} takes it only as a number."
        if not self.takes(setting, value):
            return f"but {self.name} takes it only as {' or '.join(map(str, self.values[setting]))}."
        return None


PEERS = {
    peer.name: peer
    for peer in (
        Peer("llama-cpp-python", values={"flash_attn": ("on", "off")}),
        Peer("xllamacpp"),
        Peer("transformers"),
        Peer("llama-bench", takes_engine=True),
    )
}
"""All peers, by name."""
