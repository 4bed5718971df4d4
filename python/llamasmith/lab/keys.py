"""The settings that an arm may have: their names, who takes them, and what values are allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AUTO", "KEYS", "KEY_BY_WORD", "Key", "Value", "all_keys", "nonempty"]

Value = str | int | bool

AUTO = "auto"
"""As a number of threads: what llamasmith decides by itself in the arm's process, under the condition there."""


def _number(least: int) -> Callable[[str], Value]:
    def parse(text: str) -> Value:
        number = int(text)
        if number < least:
            raise ValueError
        return number

    return parse


def _threads(text: str) -> Value:
    return text if text == AUTO else _number(1)(text)


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


def nonempty(text: str) -> Value:
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


_LOAD_MODES = ("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")

KEYS = (
    Key("n_threads", "session", f"a number from 1, or {AUTO}", _threads, alias="t"),
    Key("n_threads_batch", "session", "a number from 1", _number(1)),
    Key("n_ctx", "session", "a number from 1", _number(1)),
    Key("n_batch", "session", "a number from 1", _number(1)),
    Key("n_ubatch", "session", "a number from 1", _number(1)),
    Key("flash_attn", "session", "auto, on, off", _choice("auto", "on", "off")),
    Key("type_k", "session", "a ggml type such as f16 or q8_0", nonempty),
    Key("type_v", "session", "a ggml type such as f16 or q8_0", nonempty),
    Key("wait", "session", "a wait policy: spin, yield, park or adaptive", nonempty),
    Key("disposable_pool", "session", "on, off", _switch),
    Key("use_extra_bufts", "model", "on, off", _switch),
    Key("n_gpu_layers", "model", "a number from 0, or -1 for all", _number(-1)),
    Key("load_mode", "model", "auto, none, mmap, mlock, mmap+mlock, dio", _choice(*_LOAD_MODES)),
    Key("backend", "model", "a backend of the build, such as cpu", nonempty),
    Key("model", "process", "the path or the name of a model", nonempty),
    Key("python", "process", "the interpreter of another environment", nonempty),
)
KEY_BY_WORD = {word: key for key in KEYS for word in (key.name, key.alias) if word is not None}


def all_keys() -> str:
    """All keys in words, for messages and help."""
    words = ", ".join(f"{key.name} (or {key.alias})" if key.alias else key.name for key in KEYS)
    return f"name, peer, engine, {words}, env.NAME"
