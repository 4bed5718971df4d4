"""llamasmith itself."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any

from ..subject import PROMPT, NotSupported, Subject, SubjectMissing
from ..tokens import random_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LlamasmithSubject"]

_NO_LIMIT = threading.TIMEOUT_MAX

# A session that is told to stop before it has begun goes on to the end.
_LEAST_LIMIT_SECONDS = 0.01


class LlamasmithSubject(Subject):
    """An engine, a model, and one session or several that work at once. `package` is llamasmith, or a stand-in."""

    def __init__(self, package: Any = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._package = package
        self._clock = clock
        self._model: Any = None
        self._sessions: list[Any] = []
        self._session_options: dict[str, Any] = {}
        self._prompt: list[int] = []
        self.overlap: float | None = None

    def load(
        self, *, engine: str, model: str, model_options: dict[str, Any], session_options: dict[str, Any], sessions: int
    ) -> dict[str, Any]:
        backend = model_options.pop("backend", "cpu")
        if self._package is None:
            try:
                import llamasmith
            except ImportError as error:
                raise SubjectMissing(
                    f"llamasmith is not installed in this environment ({error}). Install it there with `pip install .`"
                ) from error
            self._package = llamasmith
        loaded = self._package.load_engine(engine, backends=() if backend == "cpu" else (backend,))
        self._model = self._package.Model(model, **model_options)
        if session_options.get("n_threads") == "auto":
            session_options.pop("n_threads")  # this process decides, under the condition that it is in by now
        self._session_options = session_options
        self._sessions = [self._package.Session(self._model, **session_options) for _ in range(sessions)]
        self.n_sessions = sessions
        self._prompt = list(self._model.tokenize(PROMPT))
        pool, budget = self._sessions[0].pool, self._package.thread_budget()
        return {
            "engine": loaded.name,
            "features": list(loaded.features),
            "wait": None if pool is None else pool.wait,
            "n_threads": None if pool is None else pool.n_threads,
            "model": self._model.desc,
            "n_vocab": self._model.n_vocab,
            "bytes_per_token": getattr(self._model, "bytes_per_token", None),
            "build": self._package.build_info().asdict(),
            "thread_budget": {"budget": budget.budget, "reasons": list(budget.reasons)},
        }

    def prompt(self, n: int, seed: int) -> float:
        tokens = self._tokens(n, seed)

        def prepare(session: Any) -> Callable[[], object]:
            session.reset()
            return lambda: session.decode(tokens)

        return self._together(prepare)

    def generate(self, n: int) -> float:
        return self.generate_within(n, _NO_LIMIT)[1]

    def generate_within(self, n: int, limit_seconds: float) -> tuple[int, float]:
        # The first token comes with the prompt, and its time is the prompt's: one more is asked for.
        if len(self._sessions) == 1:
            result = self._generate(self._sessions[0], n + 1, limit_seconds)
            if result.stop_reason != "cancelled":
                _check_count(result.timings.generated_tokens, n + 1)
            return result.timings.generated_tokens - 1, float(result.timings.generate_seconds)

        counts: list[int] = []

        def prepare(session: Any) -> Callable[[], object]:
            session.reset()
            stream = session.stream(self._prompt, max_tokens=n + 1, temperature=0.0, ignore_eos=True)
            next(stream)

            def go_on() -> None:
                next(stream, None)  # one at least, however slow
                result = _finish(stream, session, limit_seconds)
                if result.stop_reason != "cancelled":
                    _check_count(len(result.tokens), n + 1)
                counts.append(len(result.tokens) - 1)

            return go_on

        seconds = self._together(prepare)
        return sum(counts), seconds

    def first_token(self, n: int, seed: int) -> float:
        if len(self._sessions) > 1:
            raise NotSupported("time to first token is measured with one session")
        tokens = self._tokens(n, seed)
        session = self._sessions[0]
        session.reset()  # a session remembers prompts
        timings = session.generate(tokens, max_tokens=1, temperature=0.0, ignore_eos=True).timings
        return float(timings.prompt_seconds)

    def outputs(self, n: int, limit_seconds: float) -> dict[str, Any]:
        """Hashes two steps' logits: of a batch (the prompt) and of one more token."""
        import numpy as np

        session, digest = self._sessions[0], hashlib.sha256()
        session.reset()
        logits = session.decode(self._prompt)
        for _ in range(2):
            digest.update(np.ascontiguousarray(logits, dtype="<f4").tobytes())
            logits = session.decode([int(np.argmax(logits))])
        generation = self._generate(session, n, limit_seconds)
        return {"tokens": [int(token) for token in generation.tokens], "logits_sha256": digest.hexdigest()}

    def distributions(self, text: str, n_tokens: int, chunk: int, file: str) -> dict[str, Any]:
        import numpy as np

        # With room for the logits of a whole batch, which the measured sessions do without.
        options = {**self._session_options, "n_outputs_max": chunk}
        session = self._package.Session(self._model, **options)
        bos = self._model.tokenize("", add_special=True)
        tokens = self._model.tokenize(text, add_special=False)[:n_tokens]
        length = min(chunk, session.n_ctx) - len(bos)
        pieces, targets = [], []
        for start in range(0, len(tokens), length):
            part = tokens[start : start + length]
            scored = range(len(part) // 2, len(part) - 1)  # with at least half a chunk to go by
            if not scored:
                continue
            session.reset()
            logits = session.decode([*bos, *part], all_logits=True)[len(bos) :][scored.start : scored.stop]
            logits = logits.astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            pieces.append(logits.astype(np.float32))
            targets += [int(token) for token in part[scored.start + 1 : scored.stop + 1]]
        if not pieces:
            raise ValueError(f"the text has only {len(tokens)} tokens; at least 3 are needed")
        session.close()
        np.save(file, np.concatenate(pieces))
        return {"targets": targets, "chunk": length + len(bos)}

    def _tokens(self, n: int, seed: int) -> list[int]:
        return random_tokens(n, seed, self._model.n_vocab)

    def _generate(self, session: Any, n: int, limit_seconds: float) -> Any:
        """Ends early once the time is over and there are two tokens at least: one that the prompt has paid for."""
        session.reset()
        stream = session.stream(self._prompt, max_tokens=n, temperature=0.0, ignore_eos=True)
        for _ in range(2):
            next(stream, None)
        return _finish(stream, session, limit_seconds)

    def _together(self, prepare: Callable[[Any], Callable[[], object]]) -> float:
        """Prepares every session, then lets all work at once; the seconds until the last has done."""
        jobs = [prepare(session) for session in self._sessions]
        if len(jobs) == 1:
            begin = self._clock()
            jobs[0]()
            return self._clock() - begin
        spans, errors = self._run_threads(jobs)
        if errors:
            raise errors[0]
        whole = max(end for _, end in spans) - min(begin for begin, _ in spans)
        self.overlap = sum(end - begin for begin, end in spans) / (len(spans) * whole)
        return whole

    def _run_threads(self, jobs: Sequence[Callable[[], object]]) -> tuple[list[tuple[float, float]], list[Exception]]:
        spans: list[tuple[float, float]] = []
        errors: list[Exception] = []
        start = threading.Barrier(len(jobs))

        def run(job: Callable[[], object]) -> None:
            start.wait()
            begin = self._clock()
            try:
                job()
            except Exception as error:
                errors.append(error)
            spans.append((begin, self._clock()))

        threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return spans, errors


def _finish(stream: Any, session: Any, limit_seconds: float) -> Any:
    """The rest of a generation, or as much of it as comes within the limit."""
    timer = threading.Timer(max(limit_seconds, _LEAST_LIMIT_SECONDS), session.cancel)
    timer.daemon = True
    timer.start()
    try:
        return stream.finish()
    finally:
        timer.cancel()


def _check_count(got: int, wanted: int) -> None:
    if got != wanted:
        raise RuntimeError(f"{got} tokens came instead of {wanted}: is n_ctx too small?")
