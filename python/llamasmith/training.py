"""Training: a model's weights changed, so that it finds a text likelier."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._check import INT32_MAX, integer, number, one_of, token_ids, utf8
from ._native import _core
from .errors import InvalidOption, NotEnoughMemory
from .host_memory import host_memory
from .pool import ThreadPool, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .model import Model

__all__ = ["EpochResult", "TrainingStep", "finetune"]

OPTIMIZERS = ("adamw", "sgd")


@dataclass(frozen=True)
class TrainingStep:
    """One example, just computed. Loss and accuracy are means of the epoch so far."""

    epoch: int
    """From 1."""
    step: int
    """From 1, of this epoch."""
    n_steps: int
    train: bool
    """False for an example of the validation."""
    loss: float
    accuracy: float


@dataclass(frozen=True)
class EpochResult:
    """One pass over all examples, each seen before the weights changed by it."""

    epoch: int
    loss: float
    """Mean of ``-log(probability)`` over the tokens."""
    accuracy: float
    """Share of the tokens that the model found the likeliest."""
    val_loss: float | None
    """... of the examples that were not trained on, after the epoch; None if there were none."""
    val_accuracy: float | None


def finetune(
    model: Model,
    text: str | bytes | Sequence[int],
    *,
    epochs: int = 1,
    learning_rate: float | Callable[[int], float] = 1e-5,
    optimizer: str = "adamw",
    weight_decay: float = 0.0,
    val_split: float = 0.0,
    param_filter: str | None = None,
    n_ctx: int = 256,
    n_batch: int | None = None,
    n_ubatch: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    n_threads: int | None = None,
    wait: str | None = None,
    progress: Callable[[TrainingStep], None] | None = None,
) -> list[EpochResult]:
    """Trains the model to predict each token of a text from those before it, on the CPU.

    The weights change in memory: `Model.save()` writes them. Load the model with ``load_mode="none",
    use_extra_bufts=False, devices=[]``, and close its sessions first. Only weights of the type f32 are trained; others
    stay as they are (``quantize(src, dst, "F32", allow_requantize=True)`` makes an F32 model of any). So do the token
    embeddings and, in models that share their table, the output.

    Args:
        text: what to learn from, as text or tokens: at least ``n_ctx + 1`` of them.
        epochs: how often.
        learning_rate: a number, or what a function of the epoch (from 1) says: more than 0, at most 1.
        optimizer: ``adamw``, which keeps three numbers for each weight, or ``sgd``, which keeps one.
        weight_decay: 0.0 to 1.0.
        val_split: the share of the examples, from the end of the text, that is only measured: 0.0 to less than 1.0.
        param_filter: a regular expression (ECMAScript) in the names of the weights to train, such as ``ffn_|norm``. By
            default all, which the model must then have in f32.
        n_ctx: tokens of an example, a multiple of 256. What the model learns reaches no further.
        n_batch: after how many tokens of an example the weights change; by default after all.
        n_ubatch: tokens in one graph, by default `n_batch`. Fewer take less memory, but then the weights that make keys
            and values are not trained.
        stride: how far each example begins after the one before; by default `n_ctx`.
        seed: of the order in which examples come, another one in each epoch.
        n_threads, wait: as for `Session`.
        progress: called after each example; an exception from it stops the training.

    Stopped between two examples (by Ctrl-C, or an exception from `progress`), the model keeps what it has learnt.

    Raises InvalidOption (also for models that llama.cpp cannot train), SessionBusy (the model has sessions, or is saved
    just now), NotEnoughMemory.
    """
    tokens = model.tokenize(utf8(text, "text")) if isinstance(text, (str, bytes)) else token_ids(text)
    epochs = integer("epochs", epochs, 1, INT32_MAX)
    n_ctx = integer("n_ctx", n_ctx, 1, INT32_MAX)
    n_batch = n_ctx if n_batch is None else integer("n_batch", n_batch, 1, INT32_MAX)
    n_ubatch = n_batch if n_ubatch is None else integer("n_ubatch", n_ubatch, 1, INT32_MAX)
    stride = n_ctx if stride is None else integer("stride", stride, 1, INT32_MAX)
    decay = number("weight_decay", weight_decay)
    rates = [_rate(learning_rate, epoch) for epoch in range(1, epochs + 1)] if callable(learning_rate) else []
    rate = 0.0 if callable(learning_rate) else _rate(lambda _: learning_rate, 1)
    _check_decay(decay)
    one_of("optimizer", optimizer, OPTIMIZERS)
    if param_filter is None:
        _need_f32(model)
    starts = _examples(tokens, n_ctx, stride)
    n_val = _n_val(number("val_split", val_split), len(starts))
    order = random.Random(seed)
    with ThreadPool(thread_count(n_threads), wait=wait) as pool:
        trainer = _core.Trainer(
            model._native,
            pool=pool._native,
            n_ctx=n_ctx,
            n_batch=n_batch,
            n_ubatch=n_ubatch,
            optimizer=optimizer,
            param_filter="" if param_filter is None else utf8(param_filter, "param_filter"),
        )
        try:
            _need_memory(trainer.n_bytes)
            results = []
            for epoch in range(1, epochs + 1):
                train, val = starts[: len(starts) - n_val], starts[len(starts) - n_val :]
                order.shuffle(train)
                here = _Epoch(trainer, tokens, epoch, rates[epoch - 1] if rates else rate, decay, progress)
                loss, accuracy = here.run(train, train=True)
                val_loss, val_accuracy = here.run(val, train=False) if val else (None, None)
                results.append(EpochResult(epoch, loss, accuracy, val_loss, val_accuracy))
            return results
        finally:
            trainer.close()


@dataclass(frozen=True)
class _Epoch:
    trainer: _core.Trainer
    tokens: list[int]
    epoch: int
    rate: float
    decay: float
    progress: Callable[[TrainingStep], None] | None

    def run(self, starts: list[int], *, train: bool) -> tuple[float, float]:
        """Mean loss and accuracy of the examples. Each is one native call, so that a signal is seen after each."""
        losses = accuracies = 0.0
        for step, start in enumerate(starts, 1):
            example = self.tokens[start : start + self.trainer.n_ctx + 1]
            loss, accuracy = self.trainer.step(example, learning_rate=self.rate, weight_decay=self.decay, train=train)
            if not math.isfinite(loss):
                raise InvalidOption(
                    f"The loss is {loss} in step {step} of epoch {self.epoch}: the weights are spoilt. Load the model "
                    f"again, and train it with a smaller learning_rate (it was {self.rate:g})."
                )
            losses += loss
            accuracies += accuracy
            if self.progress is not None:
                self.progress(TrainingStep(self.epoch, step, len(starts), train, losses / step, accuracies / step))
        return losses / len(starts), accuracies / len(starts)


def _rate(of: Callable[[int], float], epoch: int) -> float:
    rate = number("learning_rate", of(epoch))
    if not 1e-12 <= rate <= 1.0:
        raise InvalidOption(f"learning_rate is {rate:g}. Allowed: 1e-12 to 1.")
    return rate


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise InvalidOption(f"weight_decay is {decay:g}. Allowed: 0 to 1.")


def _n_val(share: float, n_examples: int) -> int:
    if not 0.0 <= share < 1.0:
        raise InvalidOption(f"val_split is {share:g}. Allowed: 0 to less than 1.")
    count = math.ceil(share * n_examples)
    if count >= n_examples:
        raise InvalidOption(
            f"val_split is {share:g} of {n_examples} example(s), which leaves none to train on. Give a longer text, a "
            f"smaller stride or a smaller share."
        )
    return count


def _examples(tokens: list[int], n_ctx: int, stride: int) -> list[int]:
    """Where examples begin."""
    if len(tokens) < n_ctx + 1:
        raise InvalidOption(
            f"The text has {len(tokens)} tokens; an example takes n_ctx + 1 = {n_ctx + 1}. Give a longer text "
            f"(repeat it if need be), or a smaller n_ctx."
        )
    return list(range(0, len(tokens) - n_ctx, stride))


def _need_f32(model: Model) -> None:
    kind = model.facts["ftype"]
    if "F32" not in kind:
        raise InvalidOption(
            f"{model.path.name} has weights of the type {kind}, and only those of f32 can be trained. Make an F32 "
            f"model of it with quantize(src, dst, 'F32', allow_requantize=True), or name f32 weights: param_filter="
            f"'norm'."
        )


def _need_memory(needed: int) -> None:
    host = host_memory()
    if host is not None and needed > host.available:
        raise NotEnoughMemory(
            f"Training needs about {needed / 2**20:,.0f} MiB; {host.available / 2**20:,.0f} MiB are available by "
            f"{host.source}. Use optimizer='sgd', fewer weights (param_filter), a smaller n_ctx or n_ubatch."
        )
