"""Texts that must look like something."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamasmith import Session, json_schema_grammar
from llamasmith.errors import InvalidOption

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def test_a_schema_becomes_a_grammar() -> None:
    grammar = json_schema_grammar(PERSON)
    assert "root ::=" in grammar
    assert json_schema_grammar(json.dumps(PERSON)) == grammar

    class Pydantic:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return PERSON

    assert json_schema_grammar(Pydantic) == grammar
    assert "root ::=" in json_schema_grammar(True)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        5,
        [],
        "",
        "{",
        '"text"',
        {"type": "nonsense"},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.org/schema.json"},
        {"type": "string", "pattern": "^(unclosed$"},
        {1, 2},
        float("nan"),
    ],
    ids=repr,
)
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidOption, match="JSON schema"):
        json_schema_grammar(schema)


def test_deep_and_huge_schemas_are_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    with pytest.raises(InvalidOption, match="64 levels"):
        json_schema_grammar(deep)
    endless: dict[str, Any] = {}
    endless["items"] = endless
    with pytest.raises(InvalidOption):
        json_schema_grammar(endless)
    with pytest.raises(InvalidOption, match="bytes"):
        json_schema_grammar({"enum": ["x" * (2 << 20)]})


def test_a_schema_that_refers_to_itself_is_fine() -> None:
    tree = {"$ref": "#/$defs/t", "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}
    assert "root ::=" in json_schema_grammar(tree)


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_even_nonsense_follows_the_schema(session: Any, temperature: float) -> None:
    """The tiny model knows nothing: whatever it writes is JSON of this shape."""
    for seed in range(3):
        made = session.generate(
            "a", max_tokens=120, temperature=temperature, seed=seed, json_schema=PERSON, logit_bias={2: -5.0}
        )
        if made.stop_reason == "eos":
            person = json.loads(made.text)
            assert set(person) == {"name", "age", "tags"}
            assert 0 <= person["age"] <= 150
    assert made.text.lstrip().startswith("{")


def test_grammars_and_their_errors(session: Any) -> None:
    assert session.generate("a", grammar='root ::= "hello" "hello"', temperature=0).text == "hellohello"
    for wrong, message in (("root := x", "grammar"), ("x ::= y", "grammar"), ("", "grammar")):
        with pytest.raises(InvalidOption, match=message):
            session.generate("a", grammar=wrong)
    with pytest.raises(InvalidOption, match="either grammar or json_schema"):
        session.generate("a", grammar='root ::= "a"', json_schema=PERSON)


def test_options_that_become_samplers(session: Any) -> None:
    greedy: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": 30}
    plain = session.generate("hello", **greedy).tokens
    forbidden = session.generate("hello", logit_bias={plain[0]: -float("inf")}, **greedy).tokens
    assert plain[0] not in forbidden
    assert session.generate("hello", min_p=1.0, temperature=1.0, ignore_eos=True, max_tokens=30).tokens == plain
    penalised = session.generate("hello", repeat_penalty=5.0, **greedy).tokens
    assert len(set(penalised)) > len(set(plain)) or penalised != plain
    with pytest.raises(InvalidOption, match=r"samplers=, min_p"):
        session.generate("hello", samplers=[], min_p=0.5)


def test_a_real_model_answers_in_json(smollm2: Any) -> None:
    with Session(smollm2, n_ctx=512) as session:
        made = session.chat(
            [{"role": "user", "content": "Invent a person."}], json_schema=PERSON, temperature=0, max_tokens=100
        )
        assert made.stop_reason == "eos"
        assert set(json.loads(made.text)) == {"name", "age", "tags"}
