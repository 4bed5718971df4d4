"""Many threads, many sessions, one model: whatever they do to each other, results are what one alone gets."""

from __future__ import annotations

import gc
import random
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lora_file import write_lora

from llamasmith import Model, Session, ThreadPool
from llamasmith import samplers as s
from llamasmith._native import _core
from llamasmith.errors import Cancelled, ContextFull, SessionBusy, SessionClosed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}


def together(*targets: Callable[[], None], seconds: float = 240) -> None:
    """Runs them in threads of their own. What one raises is raised here."""
    raised: list[BaseException] = []

    def run(target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=seconds)
        assert not thread.is_alive(), "a thread hangs"
    if raised:
        raise raised[0]


def expected(tiny: Model, prompt: int) -> tuple[int, ...]:
    with Session(tiny, n_ctx=128, n_threads=1) as session:
        return session.generate([1, prompt], max_tokens=12, **GREEDY).tokens


def life(tiny: Model, seed: int, answers: dict[int, tuple[int, ...]], pool: ThreadPool | None) -> None:
    """A session's, from start to end, with all that one does."""
    chance = random.Random(seed)
    for _ in range(6):
        how = {"pool": pool} if pool is not None and chance.random() < 0.5 else {"n_threads": chance.choice([1, 2])}
        session = Session(tiny, n_ctx=128, **how)
        for _ in range(3):
            prompt = chance.choice(sorted(answers))
            match chance.randrange(5):
                case 0:
                    assert session.generate([1, prompt], max_tokens=12, **GREEDY).tokens == answers[prompt]
                case 1:
                    stream = session.stream([1, prompt], max_tokens=12, **GREEDY)
                    for _ in range(chance.randrange(4)):
                        next(stream, "")
                    if chance.random() < 0.5:
                        assert stream.finish().tokens == answers[prompt]
                case 2:
                    session.reset()
                    first = session.decode([1, prompt])
                    state = session.save_state()
                    session.decode([5])
                    session.load_state(state)
                    session.reset()
                    assert np.allclose(session.decode([1, prompt]), first, atol=1e-4)
                case 3:
                    text = tiny.detokenize(tiny.tokenize("hello world"))
                    assert text.strip() == "hello world"
                case _:
                    chain = s.sampler_chain(tiny, [s.Grammar("root ::= [a-c]*"), s.Greedy()])
                    session.generate([1, prompt], max_tokens=5, samplers=chain)
        if chance.random() < 0.7:
            session.close()
        del session


def test_many_sessions_on_one_model(tiny: Model) -> None:
    answers = {prompt: expected(tiny, prompt) for prompt in range(40, 48)}
    with ThreadPool(2, wait="yield") as pool:
        together(*[lambda seed=seed: life(tiny, seed, answers, pool) for seed in range(6)])


def test_one_session_that_everybody_grabs(tiny: Model) -> None:
    """Each call works or says why not; what a generation returns is right as far as it got."""
    answer = expected(tiny, 41)
    session = Session(tiny, n_ctx=128, n_threads=1)
    done: list[str] = []
    stop = threading.Event()

    def grab(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(150):
            try:
                match chance.randrange(4):
                    case 0:
                        result = session.generate([1, 41], max_tokens=12, **GREEDY)
                        assert result.tokens == answer[: len(result.tokens)]
                        done.append(result.stop_reason)
                    case 1:
                        session.decode([5])
                    case 2:
                        session.reset()
                    case _:
                        session.save_state()
            except (SessionBusy, Cancelled, ContextFull) as error:  # noqa: PERF203 (each of them is looked at)
                done.append(type(error).__name__)

    def cancel() -> None:
        while not stop.is_set():
            session.cancel()
            stop.wait(0.001)

    canceller = threading.Thread(target=cancel, daemon=True)
    canceller.start()
    together(*[lambda seed=seed: grab(seed) for seed in range(4)])
    stop.set()
    canceller.join(timeout=60)
    assert "SessionBusy" in done
    session.reset()
    assert session.generate([1, 41], max_tokens=12, **GREEDY).tokens == answer
    session.close()
    with pytest.raises(SessionClosed):
        session.decode([1])


def test_a_model_that_is_closed_while_others_use_it(tiny_path: Path) -> None:
    """Who has begun goes on to the end; who comes later gets SessionClosed."""
    for _ in range(10):
        model = Model(tiny_path)
        started = threading.Barrier(4)

        def use(model: Model = model, started: threading.Barrier = started) -> None:
            started.wait()
            try:
                for _ in range(50):
                    tokens = model.tokenize("hello world and the " * 200)
                    model.detokenize(tokens)
                    assert model.bytes_per_token > 0
                    model.token_embeddings()
            except SessionClosed:
                pass

        def close(model: Model = model, started: threading.Barrier = started) -> None:
            started.wait()
            model.tokenize("a" * 2000)
            model.close()

        together(use, use, use, close)


def test_no_order_of_dropping_is_wrong(tiny_path: Path, tmp_path: Path) -> None:
    """All that holds native memory, dropped or closed in random orders; what is left of it still works."""
    lora = write_lora(tmp_path / "lora.gguf", seed=1)
    for seed in range(60):
        chance = random.Random(seed)
        model = Model(tiny_path)
        pool = ThreadPool(1)
        session = Session(model, n_ctx=64, pool=pool)
        context: Any = session._context
        chain = s.sampler_chain(model, [s.Penalties(), s.Grammar("root ::= [a-z]*"), s.Greedy()])
        session.decode([1, 40])
        things: dict[str, Any] = {
            "model": model,
            "pool": pool,
            "session": session,
            "chain": chain,
            "copy": chain.clone(),
            "vocab": model.vocab,
            "adapter": model.load_adapter(lora),
            "batch": _core.Batch(context),
            "view": context.logits(-1, copy=False),
            "array": np.asarray(context.logits(-1, copy=False), copy=False),
            "stream": session.stream([1, 5], max_tokens=4, samplers=chain) if seed % 3 == 0 else None,
        }
        del model, pool, session, context, chain
        order = list(things)
        chance.shuffle(order)
        for name in order:
            one = things.pop(name)
            if name in ("model", "pool", "session") and chance.random() < 0.5:
                one.close()
            del one
            if chance.random() < 0.3:
                gc.collect()
            if "array" in things:
                assert np.isfinite(things["array"]).all()
            if "vocab" in things:
                assert len(things["vocab"].pieces(special=True)) == len(things["vocab"])
            if "copy" in things:
                things["copy"].reset()
            if "batch" in things:
                assert len(things["batch"]) == 0
        gc.collect()
