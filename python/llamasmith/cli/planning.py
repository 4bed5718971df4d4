"""From the words of a command to an experiment: models found, arms parsed, settings of all arms completed."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..lab import Experiment, Metric

__all__ = ["command_line", "plan"]


def command_line() -> tuple[str, ...]:
    """What was typed, for the record: what to run to do this again."""
    return ("llamasmith", *sys.argv[1:])


def plan(
    model: str | None,
    words: Sequence[str] | None,
    metrics: Sequence[Metric],
    *,
    threads: int | None,
    flash_attn: str,
    text: Path | None,
    **fields: Any,
) -> Experiment:
    """The experiment of these arms (every engine of the build, where no `words` name any); `fields` are its others.

    Raises InvalidOption or ModelNotFound, and LabError for a text that cannot be read: before anything is measured.
    """
    from .. import build_info, lab, thread_budget
    from ..backend_files import usable_backends
    from ..hub import resolve
    from ..lab.quality import read_text

    if model is None:
        raise InvalidOption("Which model? Give -m with the path of a GGUF file, or a name such as smollm2-135m.")
    build = build_info()  # not engines(): this process decides and reports, it loads no compiled code
    backends = usable_backends(build.backends)
    arms = lab.parse_arms(words, build.engines, backends) if words else lab.default_arms(build.engines)
    if text is not None:
        read_text(text)
    return lab.Experiment(
        model=resolve(model),
        model_name=model,
        arms=tuple(replace(arm, model=None if arm.model is None else str(resolve(arm.model))) for arm in arms),
        metrics=tuple(metrics),
        defaults=lab.common_settings(metrics, n_threads=threads or thread_budget().budget, flash_attn=flash_attn),
        quality=None if text is None else lab.Quality(text),
        command=command_line(),
        **fields,
    )
