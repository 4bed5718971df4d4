"""Runs an experiment, cell by cell. The clock, the way to sleep, the spawner and what makes conditions are arguments.

Nothing here prints; progress goes to a callback.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .cell import CellRun, Tools
from .events import CellNotRun, Event
from .process import Spawner, spawn
from .quality import measure_quality
from .results import CellResult, Results
from .surroundings import ConditionNotMet, Create, check_afterwards, create

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .plan import Experiment

__all__ = ["resume", "run"]


def run(experiment: Experiment, *, facts: Mapping[str, Any] | None = None, **options: Any) -> Results:
    """Runs all rounds of all cells and returns what was found. See `resume()` for `options` and errors."""
    now: Callable[[], datetime] = options.pop("now", lambda: datetime.now(timezone.utc))
    return resume(Results.empty(experiment, now().isoformat(timespec="seconds"), facts or {}), **options)


def resume(
    results: Results,
    *,
    spawner: Spawner = spawn,
    create: Create = create,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_event: Callable[[Event], None] = lambda event: None,
    save: Callable[[Results], None] = lambda results: None,
) -> Results:
    """Runs what is missing of `results`: a cell that is not finished warms up anew and does missing rounds.

    A round that was broken off is done again by all arms, for pairs are of one time; both values are kept. An arm that
    has ended stays ended.

    `save` is called after every round. Ctrl-C ends the experiment and returns what there is, marked ``interrupted``. An
    arm that crashes ends alone; a condition that cannot be created is a cell that was not run. Raises LabError if a
    worker does not start and nothing has been measured yet, or if no arm gives a single value.
    """
    begin = clock()
    before = results.spent.get("wall", 0.0)

    def keep_time() -> None:
        results.spent["wall"] = before + clock() - begin

    def save_all() -> None:
        keep_time()
        save(results)

    tools = Tools(spawner, clock, sleep, on_event, save_all, results.spent, lambda: _count(results))
    results.interrupted = False
    try:
        for cell in results.cells:
            if not cell.finished:
                _run_cell(results, cell, tools, create)
    except KeyboardInterrupt:
        results.interrupted = True
    keep_time()
    if not results.interrupted and not results.has_samples:
        reasons = [arm.ended for cell in results.cells for arm in cell.arms if arm.ended]
        reasons += [f"{cell.condition.name}: {cell.not_run}" for cell in results.cells if cell.not_run]
        raise LabError("No arm could measure.\n" + "\n".join(reasons))
    return results


def _run_cell(results: Results, cell: CellResult, tools: Tools, create: Create) -> None:
    cell.not_run = None
    try:
        with create(cell.condition) as surroundings:
            cell_run = CellRun(results.experiment, cell, surroundings, tools)
            try:
                cell_run.start()
                cell_run.check_outputs()
                cell.in_force = surroundings.start()
                cell_run.calibrate()
                cell_run.measure()
                cell_run.watch_idle()
                measure_quality(results.experiment, cell, cell_run.ask_distributions)
                cell.finished = True
                cell.not_in_force = check_afterwards(cell)
            finally:
                cell_run.close(now=not cell.finished)
    except ConditionNotMet as error:
        _not_run(cell, str(error), tools)
    except LabError as error:
        if not results.has_samples:
            raise
        _not_run(cell, str(error), tools)
    tools.save()


def _not_run(cell: CellResult, reason: str, tools: Tools) -> None:
    cell.not_run = reason
    tools.on_event(CellNotRun(cell.condition.name, reason))


def _count(results: Results) -> tuple[int, int]:
    """Samples that are there, and samples in all: an arm that ended, or a cell that was not run, gives no more."""
    plan = results.experiment
    per_arm = (plan.warmup + plan.rounds) * len(plan.metrics)
    done = total = 0
    for cell in results.cells:
        for arm in cell.arms:
            done += len(arm.samples)
            over = arm.ended is not None or cell.not_run is not None or cell.finished
            total += len(arm.samples) if over else max(per_arm, len(arm.samples))
    return done, total
