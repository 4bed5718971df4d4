"""Quality: how far an arm's token distributions are from the first arm's, where arithmetic differs."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .extra import need

if TYPE_CHECKING:
    from collections.abc import Callable

    from .plan import Experiment
    from .results import ArmResult, CellResult

__all__ = ["compare_distributions", "measure_quality", "read_text"]


def read_text(path: Path) -> str:
    """The text whose distributions are compared. Raises LabError for one that cannot be read, or is empty."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LabError(f"The text {path} cannot be read: {error.strerror or error}.") from error
    if not text.strip():
        raise LabError(f"The text {path} is empty; give one of a few kilobytes.")
    return text


def measure_quality(experiment: Experiment, cell: CellResult, ask: Callable[..., dict[str, Any] | None]) -> None:
    """Asks every arm for its distributions over the experiment's text, and keeps what the comparison gives.

    Positions in the second half of a chunk count, with the first half to go by; the perplexity is that of the token
    that the text has there. An arm that cannot tell, such as a peer, has no quality, and says why.
    """
    if experiment.quality is None:
        return
    text, numpy = read_text(experiment.quality.text), need("numpy")
    with tempfile.TemporaryDirectory(prefix="llamasmith-") as folder:
        reference: Any = None
        for index, result in enumerate(cell.arms):
            if result.ended is not None or result.is_noise:
                continue
            file = Path(folder) / f"{index}.npy"
            found = _ask(ask, result, text, experiment, file)
            if found is None:
                continue
            result.no_quality = None
            logs = numpy.load(file, mmap_mode="r")
            if index == 0:
                reference = logs
            result.quality = compare_distributions(reference, logs, found["targets"]) | {"chunk": found["chunk"]}


def _ask(
    ask: Callable[..., dict[str, Any] | None], result: ArmResult, text: str, experiment: Experiment, file: Path
) -> dict[str, Any] | None:
    assert experiment.quality is not None
    try:
        return ask(
            result, text=text, n_tokens=experiment.quality.n_tokens, chunk=experiment.quality.chunk, file=str(file)
        )
    except LabError as error:
        result.no_quality = str(error)
        return None


def compare_distributions(reference: Any, logs: Any, targets: list[int]) -> dict[str, Any]:
    """Perplexity, and the KL divergence from `reference` (nats), of log-probabilities of shape (positions, n_vocab).

    ``same_top`` is the share of positions whose most likely token is the same. The divergences are None without a
    reference of the same shape: the first arm could not tell, or has another vocabulary.
    """
    numpy = need("numpy")
    rows = numpy.arange(len(targets))
    perplexity = math.exp(-float(numpy.mean(logs[rows, targets], dtype=float)))
    found: dict[str, Any] = {"positions": len(targets), "perplexity": perplexity}
    if reference is None or reference.shape != logs.shape:
        return found | {"kl_mean": None, "kl_p99": None, "same_top": None}
    # Row by row: the whole in double precision is as large as a model.
    divergences = [
        float(numpy.sum(numpy.exp(p := reference[row].astype(float)) * (p - logs[row].astype(float)))) for row in rows
    ]
    same = [int(reference[row].argmax()) == int(logs[row].argmax()) for row in rows]
    return found | {
        "kl_mean": max(0.0, float(numpy.mean(divergences))),
        "kl_p99": max(0.0, float(numpy.percentile(divergences, 99))),
        "same_top": sum(same) / len(same),
    }
