"""Arms: the configurations under test, parsed from words such as ``patched,wait=spin,t=4``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..errors import InvalidOption
from .keys import KEY_BY_WORD, Key, Value, all_keys, nonempty
from .peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AA_NAME", "BASELINE_ORDER", "OURSELVES", "Arm", "check_distinct", "default_arms", "parse_arm", "parse_arms"]

AA_NAME = "A/A"
"""Name of the arm that repeats the first one; how far it seems to differ is the noise floor."""

OURSELVES = "llamasmith"
"""The subject of an arm that is no peer."""

BASELINE_ORDER = ("upstream-openmp", "upstream")
"""With no arm given, the baseline is what llama.cpp builds by default, as far as this build has it."""

# Only these engines have the patch that chooses a wait policy at run time.
_ENGINES_WITH_WAIT = ("patched",)

# Who waits how, and where threads come from, never changes what they compute: such arms must still agree.
_WAIT_ONLY_ENV = frozenset({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "LLAMASMITH_WAIT"})
_WAIT_ONLY_SETTINGS = frozenset({"wait", "disposable_pool", "load_mode"})


@dataclass(frozen=True)
class Arm:
    """One configuration under test; it becomes one worker process.

    `settings` are those of the session and the model, under the names that `Session` and `Model` give them. `model`
    and `python` replace the experiment's model file and this interpreter. `env` is set in the worker's environment.
    `peer` names another library that runs the model instead of llamasmith.
    """

    name: str
    engine: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    model: str | None = None
    python: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    peer: str | None = None

    @property
    def subject(self) -> str:
        """Who runs the model."""
        return self.peer or OURSELVES

    def with_defaults(self, defaults: Mapping[str, Value]) -> Arm:
        """The same arm, where what it leaves open is taken from `defaults`, as far as it can take it."""
        peer = PEERS.get(self.peer or "")
        taken = {name: value for name, value in defaults.items() if peer is None or peer.takes(name, value)}
        return replace(self, settings=taken | dict(self.settings))

    def options(self, scope: str) -> dict[str, Value]:
        """The settings that the ``session`` or the ``model`` takes."""
        return {name: value for name, value in self.settings.items() if KEY_BY_WORD[name].scope == scope}

    def must_agree_with(self, other: Arm) -> bool:
        """Whether the two differ only in the engine and in how threads wait, so that their outputs must be equal."""

        def arithmetic(arm: Arm) -> tuple[object, ...]:
            settings = {name: value for name, value in arm.settings.items() if name not in _WAIT_ONLY_SETTINGS}
            env = {name: value for name, value in arm.env.items() if name not in _WAIT_ONLY_ENV}
            return settings, env, arm.model, arm.python, arm.peer

        return arithmetic(self) == arithmetic(other)

    def describe(self) -> dict[str, Value]:
        """All that distinguishes the arm, but its engine and model, as one flat table for the record."""
        flat = dict(self.settings)
        if self.peer is not None:
            flat["peer"] = self.peer
        if self.python is not None:
            flat["python"] = self.python
        return flat | {f"env.{name}": value for name, value in sorted(self.env.items())}

    def asdict(self) -> dict[str, Any]:
        """All fields, ready for JSON; `from_dict` is the way back."""
        return {
            "name": self.name,
            "engine": self.engine,
            "settings": dict(self.settings),
            "model": self.model,
            "python": self.python,
            "env": dict(self.env),
            "peer": self.peer,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Arm:
        """The arm that `asdict()` described."""
        return cls(**fields)


def parse_arm(text: str, engines: Sequence[str], backends: Sequence[str] = ("cpu",)) -> Arm:
    """An arm from ``ENGINE[,name=LABEL][,key=value...]`` or ``peer=NAME[,...]``; a comma in a value is written ``\\,``.

    `engines` and `backends` are those of this build. Raises InvalidOption for an unknown engine, backend, peer or key,
    and for a bad value. An arm with its own ``python`` may name any: only that environment knows which it has.
    """
    words = [part.replace("\\,", ",").strip() for part in re.split(r"(?<!\\),", text)]
    engine = "" if "=" in words[0] else words.pop(0)
    name, peer, settings, process, env = text, None, {}, {}, {}
    for part in words:
        word, equals, value = part.partition("=")
        if not equals:
            raise InvalidOption(f"In the arm {text!r}, {part!r} is not of the form key=value. Keys: {all_keys()}.")
        if word == "name":
            name = str(_value(text, word, value, "a label", nonempty))
        elif word == "peer":
            peer = _peer(text, value)
        elif word == "engine":
            engine = value
        elif word.startswith("env.") and len(word) > len("env."):
            env[word[len("env.") :]] = value
        else:
            key = _key(text, word)
            if key.name in settings or key.name in process:
                raise InvalidOption(f"The arm {text!r} sets {key.name} twice.")
            parsed = _value(text, word, value, key.allowed, key.parse)
            if key.scope == "process":
                process[key.name] = str(parsed)
            else:
                settings[key.name] = parsed
    if name == AA_NAME:
        raise InvalidOption(f"The name {AA_NAME!r} is kept for the arm that repeats the first one. Choose another.")
    arm = Arm(name, engine, settings, process.get("model"), process.get("python"), env, peer)
    if peer is None:
        _check_engine(text, arm, engines, backends)
    else:
        _check_peer(text, arm, engines)
    return arm


def _check_engine(text: str, arm: Arm, engines: Sequence[str], backends: Sequence[str]) -> None:
    if not arm.engine:
        raise InvalidOption(
            f"The arm {text!r} names no engine: it begins with one, or with peer=NAME. Engines: {', '.join(engines)}. "
            f"Peers: {', '.join(PEERS)}."
        )
    if arm.python is None and arm.engine not in engines:
        raise InvalidOption(
            f"The arm {text!r} names the engine {arm.engine!r}, which this build does not have."
            f"{_guess(arm.engine, engines)} Engines: {', '.join(engines)}."
        )
    backend = arm.settings.get("backend", "cpu")
    if arm.python is None and backend not in backends:
        raise InvalidOption(
            f"The arm {text!r} names the backend {backend!r}, which this build does not have. "
            f"Backends: {', '.join(backends)}."
        )
    if "wait" in arm.settings and arm.engine not in _ENGINES_WITH_WAIT:
        raise InvalidOption(
            f"The arm {text!r} sets wait={arm.settings['wait']}, but the engine {arm.engine!r} has one fixed way to "
            f"wait. Engines that let you choose: {', '.join(_ENGINES_WITH_WAIT)}."
        )


def _check_peer(text: str, arm: Arm, engines: Sequence[str]) -> None:
    assert arm.peer is not None
    peer = PEERS[arm.peer]
    for name, value in arm.settings.items():
        if refusal := peer.refusal(name, value):
            raise InvalidOption(f"The arm {text!r} sets {name}={value}, {refusal}")
    if arm.engine and not peer.takes_engine:
        raise InvalidOption(f"The arm {text!r} names an engine, but {peer.name} brings its own. Leave it out.")
    if peer.takes_engine and arm.engine not in engines and arm.python is None:
        raise InvalidOption(
            f"The arm {text!r} must say which engine {peer.name} runs: engine=NAME. Engines: {', '.join(engines)}."
        )


def _peer(arm: str, value: str) -> str:
    if value not in PEERS:
        raise InvalidOption(
            f"The arm {arm!r} names the unknown peer {value!r}.{_guess(value, list(PEERS))} Peers: {', '.join(PEERS)}."
        )
    return value


def _key(arm: str, word: str) -> Key:
    if word not in KEY_BY_WORD:
        raise InvalidOption(
            f"The arm {arm!r} has the unknown key {word!r}.{_guess(word, [*KEY_BY_WORD, 'name', 'peer', 'env.'])} "
            f"Keys: {all_keys()}."
        )
    return KEY_BY_WORD[word]


def parse_arms(texts: Sequence[str], engines: Sequence[str], backends: Sequence[str] = ("cpu",)) -> tuple[Arm, ...]:
    """Several arms, of which the first is the baseline. Raises InvalidOption where two have one name."""
    arms = tuple(parse_arm(text, engines, backends) for text in texts)
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise InvalidOption(f"Two arms are named {name!r}. Tell them apart with name=LABEL.")
    return arms


def check_distinct(arms: Sequence[Arm]) -> None:
    """Raises InvalidOption where two arms are one configuration under two names, so that they cannot differ."""
    for index, arm in enumerate(arms):
        for other in arms[:index]:
            if replace(arm, name=other.name) == other:
                raise InvalidOption(
                    f"The arms {other.name!r} and {arm.name!r} are the same configuration: they cannot differ. Change "
                    f"one of them; the arm {AA_NAME} repeats the first one anyway, to show the noise."
                )


def default_arms(engines: Sequence[str]) -> tuple[Arm, ...]:
    """Every engine of the build as an arm, what llama.cpp builds by default first."""
    first = [engine for engine in BASELINE_ORDER if engine in engines]
    return tuple(Arm(engine, engine) for engine in [*first, *(e for e in engines if e not in first)])


def _guess(word: str, allowed: Sequence[str]) -> str:
    close = get_close_matches(word, allowed, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _value(arm: str, word: str, value: str, allowed: str, parse: Callable[[str], Value]) -> Value:
    try:
        return parse(value)
    except ValueError:
        raise InvalidOption(f"In the arm {arm!r}, {word}={value!r} is not allowed. Allowed: {allowed}.") from None
