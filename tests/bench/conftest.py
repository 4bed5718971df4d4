"""Facts into the saved run, no comparison across different facts, and figures beside pytest-benchmark's table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith.errors import LabError
from llamasmith.lab.machine import machine_facts
from llamasmith.lab.record import check_writable

from .facts import add_facts, collect, differing, refusal
from .figures import lines
from .models import write_narrow_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of all CPUs, used by others before the first benchmark.
_QUIET = 0.1
_LOAD = pytest.StashKey[dict[str, Any]]()


def pytest_configure(config: pytest.Config) -> None:
    """Refuses what would only show after minutes of measuring, or not at all."""
    target, saved = config.getoption("benchmark_json"), config.getoption("benchmark_compare")
    try:
        if target is not None:
            check_writable(Path(target))
    except LabError as error:
        raise pytest.UsageError(str(error)) from None
    if saved:
        check_saved_run(saved)


def check_saved_run(saved: str | bool) -> None:
    if not isinstance(saved, str) or not Path(saved).is_file():
        what = "No saved run is named" if saved is True else f"There is no saved run {saved}"
        raise pytest.UsageError(f"{what}. Give the file that a run was saved in: --benchmark-compare=FILE.")
    try:
        valid = isinstance(json.loads(Path(saved).read_text(encoding="utf-8"))["benchmarks"], list)
    except (OSError, ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise pytest.UsageError(f"{saved} holds no run of pytest-benchmark. Runs are saved by ci/bench.")


def pytest_report_header(config: pytest.Config) -> str | None:
    if not config.getoption("benchmark_enable"):
        return None
    machine = machine_facts()
    load = config.stash[_LOAD] = {name: machine[name] for name in ("busy_cpus", "load_average")}
    busy, cpus = load["busy_cpus"], machine["cpus_logical"]
    if busy <= _QUIET * cpus:
        return None
    return f"machine: others use {busy:.1f} of {cpus} CPUs just now; what is measured is disturbed by them"


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    add_facts(machine_info, collect())


def pytest_benchmark_compare_machine_info(machine_info: dict[str, Any], compared_benchmark: dict[str, Any]) -> None:
    found = differing(machine_info, compared_benchmark.get("machine_info") or {})
    if found:
        raise pytest.UsageError(refusal(found))


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """How busy the machine was: worth keeping, but never the same twice, so no fact."""
    output_json["load_before"] = config.stash.get(_LOAD, None)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    benchmarks = config.pluginmanager.get_plugin("pytest-benchmark")
    found = lines(benchmarks.benchmarks if benchmarks is not None else ())
    if found:
        terminalreporter.write_sep("-", "figures: median [quartiles] over rounds")
        for line in found:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int, int], Any]]:
    """Models of so many layers and tokens that compute next to nothing, each made once."""
    from llamasmith import Model

    folder = tmp_path_factory.mktemp("narrow")
    models: dict[tuple[int, int], Model] = {}

    def get(layers: int, n_vocab: int) -> Model:
        key = (layers, n_vocab)
        if key not in models:
            models[key] = Model(write_narrow_model(folder / f"{layers}-{n_vocab}.gguf", layers=layers, n_vocab=n_vocab))
        return models[key]

    yield get
    for model in models.values():
        model.close()
