"""Arms: the configurations under test, parsed from words such as ``patched,wait=spin,t=4``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ..errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AA_NAME", "BASELINE_ORDER", "KEYS", "Arm", "Key", "Value", "default_arms", "parse_arm", "parse_arms"]

Value = str | int | bool

AA_NAME = "A/A"
"""Name of the arm that repeats the first one; how far it seems to differ is the noise floor."""

BASELINE_ORDER = ("upstream-openmp", "upstream")
"""With no arm given, the baseline is what llama.cpp builds by default, as far as this build has it."""

# Only these engines have the patch that chooses a wait policy at run time.
_ENGINES_WITH_WAIT = ("patched",)

# Variables that change how threads wait, never what they compute: arms that differ in them must still agree.
_WAIT_ONLY_ENV = frozenset({"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "LLAMASMITH_WAIT"})


def _number(least: int) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        number = int(text)
        if number < least:
            raise ValueError
        return number

    return parse


def _choice(*allowed: str) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        if text not in allowed:
            raise ValueError
        return text

    return parse


def _switch(text: str) -> Value:
    words = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}
    try:
        return words[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _text(text: str) -> Value:
    if not text:
        raise ValueError
    return text


@dataclass(frozen=True)
class Key:
    """One setting that an arm may have. `scope` is who takes it: ``session``, ``model`` or ``process``."""

    name: str
    scope: str
    allowed: str
    parse: Callable[[str], Value]
    alias: str | None = None


KEYS = (
    Key("n_threads", "session", "a number from 1", _number(1), alias="t"),
    Key("n_threads_batch", "session", "a number from 1", _number(1)),
    Key("n_ctx", "session", "a number from 1", _number(1)),
    Key("n_batch", "session", "a number from 1", _number(1)),
    Key("n_ubatch", "session", "a number from 1", _number(1)),
    Key("flash_attn", "session", "auto, on, off", _choice("auto", "on", "off")),
    Key("type_k", "session", "a ggml type such as f16 or q8_0", _text),
    Key("type_v", "session", "a ggml type such as f16 or q8_0", _text),
    Key("wait", "session", "a wait policy such as spin, yield or park", _text),
    Key("use_extra_bufts", "model", "on, off", _switch),
    Key("model", "process", "the path or the name of a model", _text),
    Key("python", "process", "the interpreter of another environment", _text),
)
_BY_WORD = {word: key for key in KEYS for word in (key.name, key.alias) if word is not None}
_WORDS = ", ".join(f"{key.name} (or {key.alias})" if key.alias else key.name for key in KEYS)


@dataclass(frozen=True)
class Arm:
    """One configuration under test; it becomes one worker process.

    `settings` are those of the session and the model, under the names that `Session` and `Model` give them. `model`
    and `python` replace the experiment's model file and this interpreter. `env` is set in the worker's environment.
    """

    name: str
    engine: str
    settings: Mapping[str, Value] = field(default_factory=dict)
    model: str | None = None
    python: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    def with_defaults(self, defaults: Mapping[str, Value]) -> Arm:
        """The same arm, where what it leaves open is taken from `defaults`."""
        return replace(self, settings={**defaults, **self.settings})

    def options(self, scope: str) -> dict[str, Value]:
        """The settings that the ``session`` or the ``model`` takes."""
        return {name: value for name, value in self.settings.items() if _BY_WORD[name].scope == scope}

    def must_agree_with(self, other: Arm) -> bool:
        """Whether the two differ only in the engine and in how threads wait, so that their outputs must be equal."""

        def arithmetic(arm: Arm) -> tuple[object, ...]:
            settings = {name: value for name, value in arm.settings.items() if name != "wait"}
            env = {name: value for name, value in arm.env.items() if name not in _WAIT_ONLY_ENV}
            return settings, env, arm.model, arm.python

        return arithmetic(self) == arithmetic(other)

    def describe(self) -> dict[str, Value]:
        """All that distinguishes the arm, but its engine and model, as one flat table for the record."""
        flat = dict(self.settings)
        if self.python is not None:
            flat["python"] = self.python
        return flat | {f"env.{name}": value for name, value in sorted(self.env.items())}


def parse_arm(text: str, engines: Sequence[str]) -> Arm:
    """An arm from ``ENGINE[,name=LABEL][,key=value...]``; a comma inside a value is written ``\\,``.

    `engines` are those of this build. Raises InvalidOption for an unknown engine or key, and for a bad value. An arm
    with its own ``python`` may name any engine: only that environment knows which it has.
    """
    engine, *rest = (part.replace("\\,", ",").strip() for part in re.split(r"(?<!\\),", text))
    name, settings, process, env = text, {}, {}, {}
    for part in rest:
        word, equals, value = part.partition("=")
        if not equals:
            raise InvalidOption(f"In the arm {text!r}, {part!r} is not of the form key=value. Keys: {_all_keys()}.")
        if word == "name":
            name = str(_value(text, word, value, "a label", _text))
        elif word.startswith("env.") and len(word) > len("env."):
            env[word[len("env.") :]] = value
        elif word in _BY_WORD:
            key = _BY_WORD[word]
            if key.name in settings or key.name in process:
                raise InvalidOption(f"The arm {text!r} sets {key.name} twice.")
            parsed = _value(text, word, value, key.allowed, key.parse)
            if key.scope == "process":
                process[key.name] = str(parsed)
            else:
                settings[key.name] = parsed
        else:
            raise InvalidOption(
                f"The arm {text!r} has the unknown key {word!r}.{_guess(word, [*_BY_WORD, 'name', 'env.'])} "
                f"Keys: {_all_keys()}."
            )
    if name == AA_NAME:
        raise InvalidOption(f"The name {AA_NAME!r} is kept for the arm that repeats the first one. Choose another.")
    if "python" not in process and engine not in engines:
        raise InvalidOption(
            f"The arm {text!r} names the engine {engine!r}, which this build does not have.{_guess(engine, engines)} "
            f"Engines: {', '.join(engines)}."
        )
    if "wait" in settings and engine not in _ENGINES_WITH_WAIT:
        raise InvalidOption(
            f"The arm {text!r} sets wait={settings['wait']}, but the engine {engine!r} has one fixed way to wait. "
            f"Engines that let you choose: {', '.join(_ENGINES_WITH_WAIT)}."
        )
    return Arm(name, engine, settings, process.get("model"), process.get("python"), env)


def parse_arms(texts: Sequence[str], engines: Sequence[str]) -> tuple[Arm, ...]:
    """Several arms, of which the first is the baseline. Raises InvalidOption where two have one name."""
    arms = tuple(parse_arm(text, engines) for text in texts)
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise InvalidOption(f"Two arms are named {name!r}. Tell them apart with name=LABEL.")
    return arms


def default_arms(engines: Sequence[str]) -> tuple[Arm, ...]:
    """Every engine of the build as an arm, what llama.cpp builds by default first."""
    first = [engine for engine in BASELINE_ORDER if engine in engines]
    return tuple(Arm(engine, engine) for engine in [*first, *(e for e in engines if e not in first)])


def _all_keys() -> str:
    return f"name, {_WORDS}, env.NAME"


def _guess(word: str, allowed: Sequence[str]) -> str:
    close = get_close_matches(word, allowed, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _value(arm: str, word: str, value: str, allowed: str, parse: Callable[[str], Value]) -> Value:
    try:
        return parse(value)
    except ValueError:
        raise InvalidOption(f"In the arm {arm!r}, {word}={value!r} is not allowed. Allowed: {allowed}.") from None
