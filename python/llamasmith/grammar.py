"""What a generated text must look like: grammars, and JSON schemas that become grammars."""

from __future__ import annotations

import json
from typing import Any

from ._native import _core
from .errors import InvalidOption

__all__ = ["json_schema_grammar"]

# Of lists and objects within each other: the converter takes one stack frame, or several, for each.
MAX_DEPTH = 64
MAX_BYTES = 1 << 20


def json_schema_grammar(schema: Any) -> str:
    """The grammar (GBNF) of all JSON texts that a schema allows, by llama.cpp's own converter.

    Args:
        schema: a dict (or True, for any JSON), its JSON text, or a class with ``model_json_schema()`` (pydantic).

    Raises InvalidOption for what is no schema, or uses what a grammar cannot express (such as remote ``$ref``).
    """
    made = getattr(schema, "model_json_schema", None)
    if callable(made):
        schema = made()
    try:
        parsed = json.loads(schema) if isinstance(schema, (str, bytes)) else schema
        text = json.dumps(parsed, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(
            f"The JSON schema is no JSON: {error or type(error).__name__}. "
            f"Give a dict, a JSON text, or a pydantic class."
        ) from None
    if parsed is True:
        text = "{}"
    elif not isinstance(parsed, dict):
        raise InvalidOption(f"A JSON schema is an object, or true, not {text[:40]}.")
    if len(text) > MAX_BYTES or _deeper_than(parsed, MAX_DEPTH):
        raise InvalidOption(
            f"The JSON schema is too large. Allowed: {MAX_BYTES} bytes, and {MAX_DEPTH} levels of nesting; "
            f"what repeats can go into $defs."
        )
    return _core.grammar_of_schema(text)


def _deeper_than(value: Any, depth: int) -> bool:
    level: list[Any] = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list, tuple))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
