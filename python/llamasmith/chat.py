"""Conversations as prompts, by the chat template (jinja) that a model brings along.

A template is a program from a stranger: it runs in jinja2's sandbox, cannot change what it is given, and is stopped
when it loops or writes too much.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeAlias

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .errors import ChatTemplateError, InvalidOption

if TYPE_CHECKING:
    from jinja2.parser import Parser

__all__ = ["ChatTemplate", "Message"]

Message: TypeAlias = Mapping[str, Any]
"""``{"role": "system" | "user" | "assistant" | "tool", "content": "..."}``, and what else the template knows."""

# Far beyond what conversations need, and within a second.
MAX_TURNS = 1_000_000
MAX_CHARACTERS = 64 << 20
MAX_TEMPLATE = 1 << 20


class _GenerationBlock(Extension):
    """``{% generation %}`` marks what the model has said, for those who train: here it is transparent."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 wants a set)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Counts the turns of all loops, and bounds what operators can make."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and (abs(left) > 1000 or abs(right) > 64):
            raise ChatTemplateError("The chat template computes a power that is too large.")
        if operator == "*" and not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            size = max(len(value) for value in (left, right) if hasattr(value, "__len__"))
            times = max((value for value in (left, right) if isinstance(value, int)), default=0)
            if size * times > MAX_CHARACTERS:
                raise ChatTemplateError("The chat template makes a text that is too long.")
        if operator == "%" and isinstance(left, str):
            raise ChatTemplateError("The chat template formats a text with %, whose widths have no bound.")
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        return tree


class ChatTemplate:
    """A chat template. Raises ChatTemplateError if it is no jinja, or too long.

    Args:
        source: the template's text.
        bos_token, eos_token: texts of the begin and end tokens, which templates write themselves.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._loops = threading.local()  # a model's template may be rendered by several threads
        if len(source) > MAX_TEMPLATE:
            raise ChatTemplateError(f"The chat template has {len(source)} characters. Allowed: {MAX_TEMPLATE}.")
        environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _GenerationBlock])
        environment.filters["tojson"] = _tojson
        environment.filters["_counted"] = self._counted
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError, MemoryError) as error:
            raise ChatTemplateError(f"The chat template cannot be read: {_words(error)}") from None

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: Any) -> str:
        """The text of a conversation, ready for the model's answer.

        Args:
            messages: in order, each with a ``role`` and, mostly, a ``content``.
            add_generation_prompt: end with the beginning of the assistant's message.
            variables: what else the template knows: ``tools``, ``documents``, ``enable_thinking`` and so on.

        Raises InvalidOption for messages that are none, ChatTemplateError if the template refuses them or fails.
        """
        checked = [_message(index, message) for index, message in enumerate(messages)]
        if not checked:
            raise InvalidOption(
                "There are no messages: give at least one, such as {'role': 'user', 'content': 'Hello'}."
            )
        self._loops.turns = 0
        pieces, size = [], 0
        try:
            stream = self._template.generate(
                {"messages": checked, "add_generation_prompt": add_generation_prompt, **self._tokens, **variables}
            )
            for piece in stream:
                pieces.append(piece)
                size += len(piece)
                if size > MAX_CHARACTERS:
                    raise ChatTemplateError(f"The chat template writes more than {MAX_CHARACTERS} characters.")
        except ChatTemplateError:
            raise
        except Exception as error:  # a stranger's program may raise anything
            raise ChatTemplateError(f"The chat template fails for these messages: {_words(error)}") from None
        return "".join(pieces)

    def _counted(self, values: Any) -> Iterator[Any] | Sequence[Any]:
        if isinstance(values, jinja2.Undefined):
            return values
        items = values if isinstance(values, Sequence) else list(values)
        self._loops.turns += len(items)
        if self._loops.turns > MAX_TURNS:
            raise ChatTemplateError(f"The chat template loops more than {MAX_TURNS} times.")
        return items


def _message(index: int, message: Message) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise InvalidOption(
            f"Message {index} is {str(message)[:60]!r}. Allowed: a mapping with a role and a content, such as "
            f"{{'role': 'user', 'content': 'Hello'}}."
        )
    return dict(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """As templates are used to it: without the escapes for HTML that jinja's own makes."""
    allowed = {name: options[name] for name in ("separators", "sort_keys") if name in options}
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=None if indent is None else min(indent, 64), **allowed)


def _refuse(message: str) -> None:
    raise ChatTemplateError(f"The chat template refuses these messages: {message}")


def _strftime_now(pattern: str) -> str:
    return datetime.now(timezone.utc).astimezone().strftime(pattern[:200])


def _words(error: BaseException) -> str:
    line = f" (line {error.lineno})" if isinstance(error, jinja2.TemplateSyntaxError) else ""
    return f"{str(error)[:300] or type(error).__name__}{line}"
