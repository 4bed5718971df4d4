"""Drafts: what is guessed never changes the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tiny_model import write_tiny_model

from llamasmith import Model, ModelDraft, NgramDraft, Session
from llamasmith.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
REPEATED = [1, *[40, 50, 60, 70, 80, 90] * 8]


@pytest.fixture
def plain(tiny: Any) -> Iterator[Any]:
    with Session(tiny, n_ctx=512, n_threads=1) as session:
        yield session


@pytest.mark.parametrize("prompt", [REPEATED, [1, 100, 101]])
@pytest.mark.parametrize("n_max", [1, 5, 16])
def test_lookup_gives_the_same_text(tiny: Any, plain: Any, prompt: list[int], n_max: int) -> None:
    expected = plain.generate(prompt, max_tokens=150, **GREEDY)
    with Session(tiny, n_ctx=512, n_threads=1, draft=NgramDraft(n_max=n_max)) as session:
        result = session.generate(prompt, max_tokens=150, **GREEDY)
        assert result.tokens == expected.tokens
        assert result.text == expected.text
        assert 0 <= result.timings.accepted_tokens <= result.timings.drafted_tokens
        assert session.tokens == [*prompt, *result.tokens[:-1]]
        if prompt is REPEATED:
            assert result.timings.drafted_tokens > 0
    assert expected.timings.drafted_tokens == expected.timings.acceptance == 0


def test_lookup_is_right_where_texts_repeat(tiny: Any, plain: Any) -> None:
    """The tiny model repeats nothing by itself: a grammar makes it."""
    how: dict[str, Any] = {"grammar": 'root ::= ("abc hello")+', "logit_bias": {2: -float("inf")}, "temperature": 0}
    expected = plain.generate("a", max_tokens=100, **how)
    with Session(tiny, n_ctx=512, n_threads=1, draft=NgramDraft(n_max=6)) as session:
        result = session.generate("a", max_tokens=100, **how)
        assert result.tokens == expected.tokens
        assert result.timings.acceptance > 0.3  # one text has several spellings in tokens
        assert result.timings.accepted_tokens > 40


def test_a_model_that_drafts_for_itself_is_always_right(tiny: Any, plain: Any) -> None:
    expected = plain.generate([1, 100, 101], max_tokens=60, **GREEDY)
    with Session(tiny, n_ctx=512, n_threads=1, draft=ModelDraft(tiny, n_max=4, p_min=0.0)) as session:
        result = session.generate([1, 100, 101], max_tokens=60, **GREEDY)
        assert result.tokens == expected.tokens
        assert result.timings.acceptance > 0.9  # but for the last bits of numbers
        assert result.timings.accepted_tokens >= 40


def test_streams_and_second_calls(tiny: Any, plain: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=1, draft=ModelDraft(tiny, n_max=4, p_min=0.1)) as session:
        for prompt in (REPEATED, [1, 100, 101], REPEATED[:20]):
            stream = session.stream(prompt, max_tokens=40, **GREEDY)
            expected = plain.generate(prompt, max_tokens=40, **GREEDY)
            assert "".join(stream) == expected.text
            assert stream.result.tokens == expected.tokens


def test_samplers_choose_as_they_would_alone(tiny: Any, plain: Any) -> None:
    """Every token is chosen from the model's logits by the same sampler in the same order: the seed decides."""
    how: dict[str, Any] = {"temperature": 1.0, "seed": 7, "ignore_eos": True, "max_tokens": 80}
    with Session(tiny, n_ctx=512, n_threads=1, draft=NgramDraft(n_max=8, shortest=1)) as session:
        assert session.generate(REPEATED, **how).tokens == plain.generate(REPEATED, **how).tokens


def test_stops_and_lengths_hold(tiny: Any, plain: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=1, draft=NgramDraft(n_max=8)) as session:
        for n in (0, 1, 2, 7):
            assert len(session.generate(REPEATED, max_tokens=n, **GREEDY).tokens) == n
        text = plain.generate(REPEATED, max_tokens=60, **GREEDY).text
        stop = next(text[i : i + 2] for i in range(10, 50) if text[i : i + 2].isascii())
        want = plain.generate(REPEATED, max_tokens=60, stop=stop, **GREEDY)
        got = session.generate(REPEATED, max_tokens=60, stop=stop, **GREEDY)
        assert (got.text, got.stop_reason) == (want.text, want.stop_reason)


def test_the_context_ends_as_it_would_alone(tiny: Any) -> None:
    with (
        Session(tiny, n_ctx=256, n_threads=1) as alone,
        Session(tiny, n_ctx=256, n_threads=1, draft=NgramDraft(n_max=16)) as session,
    ):
        want, got = (s.generate(REPEATED, max_tokens=None, **GREEDY) for s in (alone, session))
        assert (got.tokens, got.stop_reason) == (want.tokens, "context")
        shifted = session.generate(REPEATED, max_tokens=400, context_shift=True, **GREEDY)
        assert len(shifted.tokens) == 400


def test_other_vocabularies_are_refused(tiny: Any, tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "other.gguf", pieces=["▁other", "words"])
    with Model(path) as other, pytest.raises(InvalidOption, match=r"token \d+ is another text"):
        Session(tiny, draft=ModelDraft(other, n_max=4))


def test_bad_drafts_are_refused(tiny: Any) -> None:
    for draft, word in (
        (NgramDraft(n_max=0), "n_max"),
        (NgramDraft(n_max=257), "n_max"),
        (NgramDraft(n_max=4, shortest=5, longest=4), "shortest"),
        (ModelDraft(tiny, n_max=4, p_min=2.0), "p_min"),
    ):
        with pytest.raises(InvalidOption, match=word):
            Session(tiny, draft=draft)
    with pytest.raises(InvalidOption, match="is no draft"):
        Session(tiny, draft=tiny)
