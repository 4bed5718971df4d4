"""Training: what it learns is right, what it must not touch stays, and whatever is asked of it, the process lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiny_bert import write_tiny_bert
from tiny_model import write_tiny_model

from llamasmith import Model, Session, ThreadPool, finetune, quantize, training
from llamasmith._native import _core
from llamasmith.errors import InvalidOption, NotEnoughMemory, SessionBusy, SessionClosed
from llamasmith.host_memory import HostMemory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

PATTERN = [70, 261, 88, 259, 100, 262, 75]
TEXT = (PATTERN * 40)[:257]
"""One example of 256 tokens."""


def load(path: Path, **options: Any) -> Model:
    return Model(path, **{"load_mode": "none", "use_extra_bufts": False, "devices": [], **options})


@pytest.fixture
def model(tiny_path: Path) -> Iterator[Model]:
    with load(tiny_path) as model:
        yield model


def weights(model: Model, path: Path) -> dict[str, npt.NDArray[Any]]:
    import gguf

    model.save(path)
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def loss(model: Model, tokens: list[int] = TEXT) -> float:
    """The mean of ``-log(probability)``, by a session, with the ordinary graph."""
    with Session(model, n_ctx=512, n_threads=1, n_outputs_max=256, flash_attn="off") as session:
        return -float(session.score(tokens).mean())


def test_a_text_is_learnt(model: Model, tmp_path: Path) -> None:
    before = loss(model)
    seen = []
    results = finetune(model, TEXT, epochs=30, learning_rate=3e-3, n_threads=2, progress=seen.append)
    assert results[0].loss == pytest.approx(before, rel=1e-3)  # before the first change
    assert results[-1].loss < 0.2 < 3 < before
    assert results[-1].accuracy > 0.95
    assert (results[-1].epoch, results[-1].val_loss) == (30, None)
    assert [(step.epoch, step.step, step.n_steps, step.train) for step in seen[:2]] == [
        (1, 1, 1, True),
        (2, 1, 1, True),
    ]
    assert seen[0].loss == results[0].loss
    model.save(tmp_path / "learnt.gguf")
    with Model(tmp_path / "learnt.gguf") as learnt, Session(learnt, n_ctx=256, n_threads=1) as session:
        assert learnt.n_ctx_train == 512  # not the length of an example
        answer = session.generate(PATTERN * 3, max_tokens=14, temperature=0)
        assert list(answer.tokens) == PATTERN * 2


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_goes_down_the_slope(model: Model, optimizer: str, tmp_path: Path) -> None:
    """By SGD, weights change by the rate times the slope: so much the loss must fall."""
    first = weights(model, tmp_path / "0.gguf")
    rate = 1e-4
    start = finetune(model, TEXT, learning_rate=rate, optimizer=optimizer, n_threads=2)[0].loss
    second = weights(model, tmp_path / "1.gguf")
    end = loss(model)
    assert loss(model) < start
    changed = {name for name in first if not np.array_equal(first[name], second[name])}
    assert changed == set(first) - {"token_embd.weight"}
    moved = {name: second[name] - first[name] for name in changed}
    if optimizer == "sgd":
        slope = sum(float((move.astype(np.float64) ** 2).sum()) for move in moved.values()) / rate
        assert start - end == pytest.approx(slope, rel=0.1)
    else:  # its first step is as long as the rate, for every weight
        largest = max(float(np.abs(move).max()) for move in moved.values())
        assert largest == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize(
    "sizes", [{}, {"n_batch": 128}, {"n_batch": 256, "n_ubatch": 64}, {"n_batch": 64, "n_ubatch": 32}]
)
def test_gradients_do_not_pile_up(model: Model, sizes: dict[str, int], tmp_path: Path) -> None:
    """A step goes by its own gradients: with a tiny rate, three passes change the weights three times as one does."""
    before = weights(model, tmp_path / "0.gguf")
    finetune(model, TEXT, learning_rate=1e-6, optimizer="sgd", n_threads=2, **sizes)
    once = weights(model, tmp_path / "1.gguf")
    finetune(model, TEXT, learning_rate=1e-6, optimizer="sgd", n_threads=2, epochs=3, **sizes)
    four_times = weights(model, tmp_path / "4.gguf")
    name = "output.weight"
    assert np.abs(once[name] - before[name]).max() > 0
    ratio = np.linalg.norm(four_times[name] - once[name]) / np.linalg.norm(once[name] - before[name])
    assert ratio == pytest.approx(3, rel=0.1)
    keys = "blk.0.attn_k.weight"
    assert np.array_equal(once[keys], before[keys]) == bool(sizes)  # less than the whole example in one graph


def test_only_what_the_filter_names(model: Model, tmp_path: Path) -> None:
    before = weights(model, tmp_path / "0.gguf")
    finetune(model, TEXT, learning_rate=1e-2, param_filter=r"^blk\.1\.ffn_|output_norm", n_threads=1)
    after = weights(model, tmp_path / "1.gguf")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {f"blk.1.ffn_{part}.weight" for part in ("norm", "gate", "up", "down")} | {"output_norm.weight"}


def test_validation_is_not_trained_on(model: Model) -> None:
    other = [(3 + 7 * i) % 256 for i in range(256)]
    steps: list[Any] = []
    results = finetune(
        model, TEXT[:256] * 2 + other, epochs=2, learning_rate=1e-3, val_split=0.3, n_threads=2, progress=steps.append
    )
    assert [step.train for step in steps] == [True, False] * 2
    assert results[1].loss < results[0].loss
    assert results[0].val_loss is not None
    assert results[0].val_loss > results[0].loss / 2
    assert results[0].val_accuracy is not None
    rates: list[int] = []
    finetune(model, TEXT, epochs=2, learning_rate=lambda epoch: rates.append(epoch) or 1e-5, n_threads=1)  # type: ignore[func-returns-value]
    assert rates == [1, 2]


@pytest.mark.parametrize("wait", ["spin", "yield", "park", "adaptive"])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.filterwarnings("ignore:.*threads")
def test_threads_and_waiting_make_no_difference(model: Model, wait: str, n_threads: int) -> None:
    results = finetune(model, TEXT, epochs=2, learning_rate=1e-3, n_threads=n_threads, wait=wait)
    assert results[1].loss == pytest.approx(EXPECTED.setdefault("loss", results[1].loss), rel=1e-4)


EXPECTED: dict[str, float] = {}


@pytest.mark.parametrize(("arch", "norms"), [("qwen2", ()), ("qwen3", ("attn_q_norm", "attn_k_norm")), ("llama", ())])
def test_architectures(arch: str, norms: tuple[str, ...], tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.gguf", arch=arch, norms=norms, tied=arch == "qwen2")
    with load(path) as model:
        results = finetune(model, TEXT, epochs=4, learning_rate=3e-3, n_threads=2)
        assert results[-1].loss < results[0].loss - 1
        assert loss(model) < results[-1].loss


def test_what_cannot_be_trained(tiny_path: Path, tmp_path: Path) -> None:
    gemma = write_tiny_model(tmp_path / "gemma.gguf", arch="gemma", tied=True)
    bert = write_tiny_bert(tmp_path / "bert.gguf")
    quantize(tiny_path, tmp_path / "q8.gguf", "Q8_0")
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (tiny_path, {"use_extra_bufts": True}, "use_extra_bufts=False"),
        (tiny_path, {"load_mode": "mmap"}, "load_mode='none'"),
        (tiny_path, {"load_mode": "auto"}, "load_mode='none'"),
        (tiny_path, {"vocab_only": True}, "vocab_only"),
        (tiny_path, {"no_alloc": True}, "no_alloc"),
        (gemma, {}, "GEGLU.*has no gradient"),
        (bert, {}, "cannot be trained|no memory"),
        (tmp_path / "q8.gguf", {}, r"quantize\(src, dst, 'F32'"),
    ]
    for path, options, message in cases:
        with load(path, **options) as model:
            with pytest.raises(InvalidOption, match=message):
                finetune(model, TEXT, n_threads=1)
            if not {"vocab_only", "no_alloc"} & set(options) and path != bert:
                assert loss(model) > 0  # as it was


def test_norms_of_a_quantised_model(tiny_path: Path, tmp_path: Path) -> None:
    quantize(tiny_path, tmp_path / "q8.gguf", "Q8_0")
    with load(tmp_path / "q8.gguf") as model:
        results = finetune(model, TEXT, param_filter="norm", epochs=5, learning_rate=1e-2, n_threads=2)
        assert results[-1].loss < results[0].loss - 0.1
        model.save(tmp_path / "better.gguf")
    with Model(tmp_path / "better.gguf") as better:
        assert loss(better) < results[0].loss - 0.1


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_stopped_half_way(model: Model, error: type[BaseException], tmp_path: Path) -> None:
    before = loss(model)

    def stop(step: Any) -> None:
        if step.epoch == 3:
            raise error

    with pytest.raises(error):
        finetune(model, TEXT, epochs=10, learning_rate=1e-3, n_threads=2, progress=stop)
    assert loss(model) < before
    model.save(tmp_path / "so_far.gguf")
    finetune(model, TEXT, epochs=1, n_threads=2)  # and it can go on


def test_a_signal_between_two_steps(tiny_path: Path, run_python: Any) -> None:
    code = """
import os, signal, sys, threading
from llamasmith import Model, Session, finetune
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
model = Model(sys.argv[1], load_mode="none", use_extra_bufts=False, devices=[])
started = threading.Event()
def kill():
    started.wait(60)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=kill).start()
try:
    finetune(model, [1 + i % 200 for i in range(257)], epochs=100000, n_threads=1, progress=lambda step: started.set())
except KeyboardInterrupt:
    print("stopped", Session(model, n_ctx=256, n_threads=1).generate([5, 6], max_tokens=2).stop_reason)
"""
    result = run_python(code, tiny_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("stopped")


def test_nobody_else_has_the_model(model: Model, tmp_path: Path) -> None:
    with Session(model, n_ctx=256, n_threads=1), pytest.raises(SessionBusy, match=r"1 open session\(s\)"):
        finetune(model, TEXT, n_threads=1)

    def others(step: Any) -> None:
        with pytest.raises(SessionBusy, match="being trained"):
            Session(model, n_ctx=256, n_threads=1)
        with pytest.raises(SessionBusy):
            finetune(model, TEXT, n_threads=1)
        model.save(tmp_path / f"{step.epoch}.gguf")  # between two steps it may be

    finetune(model, TEXT, epochs=2, n_threads=1, progress=others)
    with Model(tmp_path / "2.gguf") as saved:
        assert saved.n_ctx_train == 512
    with Session(model, n_ctx=256, n_threads=1):
        pass


def test_options_are_checked(model: Model) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"text": TEXT[:256]}, "has 256 tokens; an example takes n_ctx . 1 = 257"),
        ({"text": []}, "has 0 tokens"),
        ({"text": [*TEXT[:-1], 10**6]}, "not in the vocabulary"),
        ({"text": [*TEXT[:-1], -1]}, "not in the vocabulary"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
        ({"learning_rate": 1e-300}, "learning_rate is 1e-300"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": lambda epoch: 2.0}, "learning_rate is 2"),
        ({"optimizer": "muon"}, "optimizer is 'muon'. Allowed: adamw, sgd"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"weight_decay": 1.5}, "weight_decay is 1.5"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"val_split": 1.0}, "val_split is 1"),
        ({"val_split": -0.5}, "val_split is -0.5"),
        ({"val_split": 0.5}, "leaves none to train on"),
        ({"param_filter": "nothing like it"}, "matches no weights"),
        ({"param_filter": "token_embd"}, "matches no weights"),
        ({"param_filter": "("}, "no regular expression"),
        ({"param_filter": "a" * 600}, "600 bytes"),
        ({"param_filter": "a\0b"}, "NUL"),
        ({"n_ctx": 100, "text": TEXT}, "n_ctx is 100. Allowed: 256"),
        ({"n_ctx": 300, "text": TEXT * 2}, "multiples of 256"),
        ({"n_ctx": 0}, "n_ctx is 0"),
        ({"n_batch": 100}, "n_batch 100.*multiple of the next"),
        ({"n_batch": 512}, "n_batch is 512"),
        ({"n_batch": 0}, "n_batch is 0"),
        ({"n_ubatch": 7}, "n_ubatch 7"),
        ({"n_ubatch": 512}, "n_ubatch is 512"),
        ({"stride": 0}, "stride is 0"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"wait": "patiently"}, "wait"),
    ]
    for options, message in cases:
        given = {"text": TEXT, "n_threads": 1, **options}
        with pytest.raises(InvalidOption, match=message):
            finetune(model, given.pop("text"), **given)
    assert loss(model) > 0


def test_the_native_trainer_checks_too(model: Model) -> None:
    with ThreadPool(1) as pool:
        trainer = _core.Trainer(model._native, pool=pool._native, optimizer="sgd")
        assert trainer.n_ctx == 256
        assert "output.weight" in trainer.trained
        assert trainer.n_weights < model.n_params
        rates = {"learning_rate": 1e-3, "weight_decay": 0.0}
        with pytest.raises(InvalidOption, match="257"):
            trainer.step(TEXT[:-1], train=True, **rates)
        with pytest.raises(InvalidOption, match="learning_rate"):
            trainer.step(TEXT, train=True, learning_rate=float("inf"), weight_decay=0.0)
        with pytest.raises(InvalidOption, match="weight_decay"):
            trainer.step(TEXT, train=True, learning_rate=1e-3, weight_decay=float("nan"))
        before = trainer.step(TEXT, train=False, **rates)
        assert trainer.step(TEXT, train=False, **rates) == before  # looking changes nothing
        trainer.close()
        trainer.close()
        assert trainer.closed
        with pytest.raises(SessionClosed):
            trainer.step(TEXT, train=True, **rates)
    with pytest.raises(TypeError):
        _core.Trainer(model._native)  # type: ignore[call-arg]


def test_spoilt_weights_are_noticed() -> None:
    class Spoilt:
        n_ctx = 2

        def step(self, tokens: list[int], **_: Any) -> tuple[float, float]:
            return float("nan"), 0.0

    epoch = training._Epoch(Spoilt(), [1, 2, 3], 7, 0.5, 0.0, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match=r"loss is nan in step 1 of epoch 7.*it was 0.5"):
        epoch.run([0], train=True)


def test_memory_is_asked_for_first(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "host_memory", lambda: HostMemory(1000, "a test"))
    with pytest.raises(NotEnoughMemory, match="a test"):
        finetune(model, TEXT, n_threads=1)
    monkeypatch.setattr(training, "host_memory", lambda: None)
    finetune(model, TEXT, n_threads=1)
