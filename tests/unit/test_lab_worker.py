"""The worker's own side of the pipe, with a stand-in for the package that it measures."""

from __future__ import annotations

import io
import json
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from llamasmith.lab.worker.serve import Worker, serve
from llamasmith.lab.worker.subject import PROMPT
from llamasmith.lab.worker.subjects.llamasmith import LlamasmithSubject
from llamasmith.lab.worker.usage import Usage

LIMIT = 10.0


class FakeSession:
    """Half a second for a prompt, a quarter for a generation; counts its tokens."""

    def __init__(self, clock: list[float], options: dict[str, Any]) -> None:
        self.clock = clock
        self.options = options
        self.pool = SimpleNamespace(wait="spin", n_threads=options.get("n_threads", 1))
        self.n_ctx = 64
        self.held: list[int] = []
        self.prompts: list[list[int]] = []
        self.short = 0
        self.cancelled = False
        self.closed = False

    def reset(self) -> None:
        self.held = []

    def decode(self, tokens: list[int], all_logits: bool = False) -> npt.NDArray[np.float32]:
        assert tokens
        self.held += tokens
        self.prompts.append(list(self.held))
        self.clock[0] += 0.5
        logits = np.zeros((len(tokens), 9), dtype=np.float32)
        logits[:, len(self.held) % 9] = 1.0
        return logits if all_logits else logits[-1]

    def stream(self, prompt: list[int], max_tokens: int, temperature: float, ignore_eos: bool) -> Any:
        assert (temperature, ignore_eos) == (0.0, True)
        session = self

        class Stream:
            def __iter__(self) -> Any:
                return self

            def __next__(self) -> str:
                return "x"

            def finish(self) -> SimpleNamespace:
                session.clock[0] += 0.25
                count = max_tokens - session.short
                timings = SimpleNamespace(generated_tokens=count, generate_seconds=0.25)
                reason = "cancelled" if session.cancelled else "length"
                return SimpleNamespace(tokens=tuple(range(count)), timings=timings, stop_reason=reason)

        return Stream()

    def generate(self, prompt: list[int], **options: Any) -> SimpleNamespace:
        assert options == {"max_tokens": 1, "temperature": 0.0, "ignore_eos": True}
        return SimpleNamespace(timings=SimpleNamespace(prompt_seconds=len(prompt) / 100))

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


def loaded(
    sessions: int = 1, n_threads: int | str | None = None, **model_options: Any
) -> tuple[LlamasmithSubject, list[FakeSession], dict[str, Any]]:
    clock = [0.0]
    made: list[FakeSession] = []

    def session(model: object, **options: Any) -> FakeSession:
        made.append(FakeSession(clock, options))
        return made[-1]

    package = SimpleNamespace(
        load_engine=lambda name, backends: SimpleNamespace(name=name, features=("AVX2", *backends)),
        Model=lambda path, **options: SimpleNamespace(
            n_vocab=9,
            bytes_per_token=7,
            desc=f"{path} {options}",
            tokenize=lambda text, add_special=True: list(text.encode())[:40] if text else [1],
        ),
        Session=session,
        build_info=lambda: SimpleNamespace(asdict=lambda: {"pin": "p"}),
        thread_budget=lambda: SimpleNamespace(budget=2, reasons=("affinity",)),
    )
    subject = LlamasmithSubject(package, clock=lambda: clock[0])
    options = {"n_ctx": 64} | ({} if n_threads is None else {"n_threads": n_threads})
    facts = subject.load(
        engine="patched", model="m", model_options=model_options, session_options=options, sessions=sessions
    )
    return subject, made, dict(facts)


def test_load_returns_facts() -> None:
    _, made, facts = loaded(use_extra_bufts=True)
    assert facts["engine"] == "patched"
    assert facts["n_vocab"] == 9
    assert facts["bytes_per_token"] == 7
    assert facts["build"] == {"pin": "p"}
    assert facts["model"] == "m {'use_extra_bufts': True}"
    assert made[0].options == {"n_ctx": 64}


def test_threads_are_given_or_left_to_the_process() -> None:
    _, made, facts = loaded(n_threads=3)
    assert (made[0].options["n_threads"], facts["n_threads"]) == (3, 3)
    _, made, facts = loaded(n_threads="auto")
    assert "n_threads" not in made[0].options
    assert facts["n_threads"] == 1  # what the session has found out


def test_an_arm_loads_the_backend_that_it_names_and_no_other() -> None:
    named: list[tuple[dict[str, str], list[str]]]
    named = [({}, []), ({"backend": "cpu"}, []), ({"backend": "openblas"}, ["openblas"])]
    for backend, features in named:
        assert loaded(**backend)[2]["features"] == ["AVX2", *features]


def test_prompt_processing_takes_fixed_tokens_from_an_empty_memory() -> None:
    subject, (session,), _ = loaded()
    tokens, seconds = subject.sample("pp", 20, 1, 3, LIMIT)
    assert (tokens, seconds) == (60, [0.5] * 3)
    assert session.prompts[0] == session.prompts[1] == session.prompts[2]
    assert len(session.prompts[0]) == 20
    assert set(session.prompts[0]) <= set(range(9))


def test_generation_is_timed_after_the_token_that_comes_with_the_prompt() -> None:
    subject, (session,), _ = loaded()
    assert subject.sample("tg", 16, 1, 2, LIMIT) == (32, [0.25, 0.25])
    session.short = 1
    with pytest.raises(RuntimeError, match="n_ctx too small"):
        subject.sample("tg", 16, 1, 1, LIMIT)
    session.cancelled = True  # by the time limit: what came until then counts
    assert subject.sample("tg", 16, 1, 1, LIMIT) == (15, [0.25])


def test_time_to_first_token_is_that_of_the_prompt() -> None:
    subject, _, _ = loaded()
    assert subject.sample("ttft", 30, 1, 1, LIMIT) == (30, [0.3])


def test_repeats_end_with_the_time_limit() -> None:
    subject, _, _ = loaded()
    tokens, seconds = subject.sample("pp", 20, 1, 100, 1.4)
    assert (tokens, len(seconds)) == (60, 3)


def test_sessions_work_at_once() -> None:
    subject, made, _ = loaded(sessions=3)
    met = threading.Barrier(3, timeout=30)  # breaks, unless three threads decode at the same time
    decode = FakeSession.decode
    for session in made:
        session.decode = lambda tokens, session=session: (met.wait(), decode(session, tokens))[1]  # type: ignore[method-assign]
    tokens, seconds = subject.sample("pp", 20, 1, 1, LIMIT)
    assert (tokens, len(seconds)) == (60, 1)
    assert subject.overlap is not None
    assert 0 < subject.overlap <= 1


def test_generations_at_once_count_together_also_where_time_ends_them() -> None:
    subject, made, _ = loaded(sessions=2)
    assert subject.sample("tg", 16, 1, 1, LIMIT)[0] == 32
    made[1].short = 5
    with pytest.raises(RuntimeError, match="n_ctx too small"):
        subject.sample("tg", 16, 1, 1, LIMIT)
    made[1].cancelled = True
    assert subject.sample("tg", 16, 1, 1, LIMIT)[0] == 16 + 11


def test_the_last_repeat_has_only_the_time_that_is_left() -> None:
    subject, _, _ = loaded()
    given: list[float] = []
    within = subject.generate_within
    subject.generate_within = lambda n, limit: (given.append(limit), within(n, limit))[1]  # type: ignore[method-assign]
    assert subject.sample("tg", 16, 1, 9, 0.6) == (48, [0.25] * 3)
    assert given == pytest.approx([0.6, 0.35, 0.1])


def test_what_fails_in_one_of_several_sessions_is_told() -> None:
    subject, made, _ = loaded(sessions=2)

    def fail(tokens: list[int]) -> npt.NDArray[np.float32]:
        raise ValueError("no room")

    made[1].decode = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(ValueError, match="no room"):
        subject.sample("pp", 20, 1, 1, LIMIT)


def test_outputs_cover_a_batch_and_a_single_token() -> None:
    subject, (session,), _ = loaded()
    first = subject.outputs(4, LIMIT)
    assert first["tokens"] == [0, 1, 2, 3]
    assert first == subject.outputs(4, LIMIT)
    assert [len(prompt) for prompt in session.prompts[:2]] == [40, 41]
    assert PROMPT


def test_distributions_are_those_of_the_second_half_of_each_chunk(tmp_path: Any) -> None:
    subject, made, _ = loaded()
    file = tmp_path / "logs.npy"
    found = subject.distributions("once upon a time", 16, 9, str(file))
    assert found["chunk"] == 9
    logs = np.load(file)
    # 16 tokens in two parts of 8 (and one to begin with): positions 4, 5, 6 of each predict tokens 5, 6, 7.
    assert logs.shape == (6, 9)
    assert found["targets"] == [*b"once upon a time"[5:8], *b"once upon a time"[13:16]]
    assert np.exp(logs).sum(axis=1) == pytest.approx(1.0)
    assert made[-1].options["n_outputs_max"] == 9
    assert made[-1].closed
    with pytest.raises(ValueError, match="only 2 tokens; at least 3"):
        subject.distributions("ab", 16, 9, str(file))


def test_a_failed_request_is_a_reply_and_the_worker_lives_on() -> None:
    measure = {"op": "measure", "metric": "pp", "n": 1, "repeats": 1, "seed": 0, "limit_seconds": 1}
    requests = [{"id": 1, **measure}, {"id": 2, "op": "nonsense"}, {"id": 3, "op": "hello"}, {"id": 4, "op": "quit"}]
    replies = io.StringIO()
    serve([json.dumps(request) for request in [*requests, {"id": 5, "op": "hello"}]], replies, Worker())
    answers = [json.loads(line) for line in replies.getvalue().splitlines()]
    assert [answer["ok"] for answer in answers] == [False, False, True, True]
    assert "nothing is loaded yet" in answers[0]["error"]
    assert "KeyError: 'nonsense'" in answers[1]["error"]


def test_a_sample_comes_with_what_it_has_cost() -> None:
    worker = Worker(lambda name: loaded()[0])
    options: dict[str, Any] = {"engine": "patched", "model": "m", "model_options": {}, "session_options": {}}
    worker.load(subject="llamasmith", sessions=1, **options)
    reply = worker.measure(metric="pp", n=20, repeats=2, seed=1, limit_seconds=LIMIT)
    assert (reply["tokens"], reply["seconds"]) == (40, [0.5, 0.5])
    assert set(reply["usage"]) == set(Usage.__dataclass_fields__)
    assert reply["usage"]["cpu_seconds"] > 0
    assert reply["usage"]["peak_rss_bytes"] > 1_000_000
    with pytest.raises(ValueError, match="metric is 'x'"):
        worker.measure(metric="x", n=1, repeats=1, seed=0, limit_seconds=LIMIT)


def test_an_unknown_subject_is_refused() -> None:
    with pytest.raises(ValueError, match="the subject is 'x'; allowed: llamasmith"):
        Worker().load(subject="x", sessions=1)


def test_usage_is_what_came_in_between() -> None:
    before = Usage(1.0, 2, 3, 4, 5, 600)
    assert Usage(1.5, 12, 13, 14, 15, 700).since(before) == {
        "cpu_seconds": 0.5,
        "voluntary_switches": 10,
        "involuntary_switches": 10,
        "minor_faults": 10,
        "major_faults": 10,
        "peak_rss_bytes": 700,
    }
