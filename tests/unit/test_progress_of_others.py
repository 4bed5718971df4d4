"""While native code runs, other Python threads do: for every call that may take long.

Threads change places only where the interpreter is given away: with a switch interval of a quarter of an hour, another
thread runs during a native call, or not at all.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from contexts import OPTIONS

from llamasmith import Model, Session, ThreadPool, load_engine
from llamasmith import samplers as s
from llamasmith._native import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Calls are repeated so long at most. One is enough, unless it ends before the other thread has woken up and has a CPU.
MOST_SECONDS = 60
TEXT = ("hello world and the " * 500).encode()


class Other:
    """A thread that counts how often it got to run."""

    def __init__(self) -> None:
        self.count = 0
        self._wake = threading.Semaphore(0)
        self._end = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            if self._end:
                return
            self.count += 1

    def __enter__(self) -> Other:
        self._thread.start()
        return self

    def wake(self) -> None:
        self._wake.release()

    def __exit__(self, *raised: object) -> None:
        self._end = True
        self._wake.release()
        self._thread.join(timeout=60)


@pytest.fixture
def no_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(900)
    yield
    sys.setswitchinterval(before)


class Scene:
    """What the calls below need, made once."""

    def __init__(self, path: Path, folder: Path) -> None:
        load_engine()
        self.path, self.folder = path, folder
        self.model = Model(path)
        self.session = Session(self.model, n_ctx=512, n_threads=1)
        self.native = self.session._context
        self.session.decode([1, 5, 70, 75])
        self.state = self.native.save_state(seq_id=0, partial=False)
        self.tokens = self.model.tokenize(TEXT)
        self.vocab = self.model.vocab
        self.chain = s.sampler_chain(self.model, [s.Grammar("root ::= [a-z ]*"), s.Greedy()])
        self.pool = ThreadPool(1)._native
        self.large = Session(self.model, n_ctx=60_000, n_threads=1)
        self.roomy = self.large._context
        self.spare: list[_core.Context] = []

    def context(self, n_ctx: int = 512) -> _core.Context:
        pools: dict[str, Any] = {"pool": self.pool, "pool_batch": None}
        return _core.Context(self.model._native, **pools, **{**OPTIONS, "n_ctx": n_ctx})

    def load(self) -> None:
        _core.Model(str(self.path), **MODEL)

    def generate(self) -> None:
        self.session.reset()
        self.session.generate([1, 40], max_tokens=20, temperature=0, ignore_eos=True)

    def decode(self) -> None:
        self.session.reset()
        self.session.decode([1 + i % 250 for i in range(300)])


POOL: dict[str, Any] = {"wait": "", "poll": 50, "cpus": [], "strict": False, "priority": "normal", "n_cpus": 2}
MODEL: dict[str, Any] = {
    "vocab_only": False,
    "check_tensors": False,
    "use_extra_bufts": True,
    "no_host": False,
    "no_alloc": False,
    "load_mtp": True,
    "n_gpu_layers": -1,
    "main_gpu": 0,
    "split_mode": "layer",
    "load_mode": "auto",
    "lazy_mode": "auto",
    "tensor_split": [],
    "devices": None,
    "placement": [],
    "kv_overrides": [],
    "rpc": [],
    "progress": None,
}


@pytest.fixture(scope="module")
def scene(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tiny_path, tmp_path_factory.mktemp("others"))
    yield made
    made.session.close()
    made.model.close()


def stream(scene: Scene) -> None:
    scene.session.reset()
    for _ in scene.session.stream([1, 40], max_tokens=10, temperature=0, ignore_eos=True):
        pass


# Each of them does its long work in native code alone: no file, lock or sleep of Python's lets others in.
CALLS: dict[str, Callable[[Scene], object]] = {
    "load a model": Scene.load,
    "tokenise": lambda scene: scene.model._native.tokenize(TEXT, add_special=True, parse_special=False),
    "tokens to text": lambda scene: scene.model._native.detokenize(
        scene.tokens, remove_special=True, unparse_special=False
    ),
    "all pieces of a vocabulary": lambda scene: scene.vocab.pieces(special=True),
    "decode": Scene.decode,
    "generate": Scene.generate,
    "stream": stream,
    "save a state": lambda scene: scene.native.save_state(seq_id=None, partial=False),
    "load a state": lambda scene: scene.native.load_state(scene.state, seq_id=0),
    "clear the memory": lambda scene: scene.roomy.memory_clear(data=True),
    "save a state's file": lambda scene: scene.native.save_state_file(
        str(scene.folder / "state"), tokens=[1, 5], seq_id=None
    ),
    "make a context": Scene.context,
    "make a pool": lambda scene: _core.ThreadPool(2, **POOL),
    "quantise": lambda scene: _core.quantize(
        str(scene.path), str(scene.folder / "q.gguf"), "Q8_0", imatrix=[], progress=None
    ),
    "look up embeddings": lambda scene: scene.model._native.token_embeddings(),
    "count a token's bytes": lambda scene: scene.model._native.bytes_per_token(),
    "read a grammar": lambda scene: s.sampler_chain(scene.model, [s.Grammar('root ::= "a" | "b"'), s.Greedy()]),
    "apply samplers": lambda scene: scene.chain.apply(
        np.arange(scene.model.n_vocab, dtype=np.int32), np.zeros(scene.model.n_vocab, dtype=np.float32)
    ),
    "copy samplers": lambda scene: scene.chain.clone(),
}


@pytest.mark.parametrize("name", CALLS)
def test_another_thread_runs_meanwhile(scene: Scene, name: str, no_switching: None) -> None:
    with Other() as other:
        other.wake()
        threading.Event().wait(0.05)  # it has begun, and sleeps
        before = other.count
        end = time.monotonic() + MOST_SECONDS
        while other.count == before and time.monotonic() < end:
            other.wake()
            CALLS[name](scene)
        assert other.count > before, f"{name}: no other thread got to run"


def test_another_thread_runs_while_a_context_is_freed(scene: Scene, no_switching: None) -> None:
    end = time.monotonic() + MOST_SECONDS
    ran = False
    while not ran and time.monotonic() < end:
        scene.spare = [scene.context(20_000) for _ in range(20)]  # made before: making lets others in too
        with Other() as other:
            other.wake()
            threading.Event().wait(0.05)
            before = other.count
            while scene.spare and other.count == before:
                other.wake()
                scene.spare.pop().close()
            ran = other.count > before
    assert ran


def test_the_method_would_notice() -> None:
    """Python code that gives nothing away lets nobody in."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(900)
    try:
        with Other() as other:
            other.wake()
            threading.Event().wait(0.05)
            seen = other.count
            other.wake()
            assert sum(range(2_000_000)) > 0
            assert other.count == seen
    finally:
        sys.setswitchinterval(before)
