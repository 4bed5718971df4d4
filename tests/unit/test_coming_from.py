"""The page for those who come from llama-cpp-python: its code runs, and the names in its tables exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import llamasmith
from llamasmith import BatchSession, Model, Session, _core, samplers
from llamasmith.generation import Generation, Timings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "coming-from-llama-cpp-python.md"
TEXT = PAGE.read_text(encoding="utf-8")
OURS = "\n".join(line.split(" | ", 1)[-1] for line in TEXT.splitlines() if line.startswith("| "))


@pytest.mark.model
def test_the_code_runs(smollm2_path: Path) -> None:
    code = "\n\n".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
    assert code.count("Session(") > 3
    names: dict[str, Any] = {}
    try:
        exec(compile(code, str(PAGE), "exec"), names)
    finally:
        names["session"].close()
        names["model"].close()


@pytest.mark.parametrize(
    ("pattern", "where"),
    [
        (r"`(?:await )?(?:async for piece in )?session\.(\w+)", Session),
        (r"`model\.(\w+)", Model),
        (r"`batch\.(\w+)", _core.Batch),
        (r"`context\.(\w+)", _core.Context),
        (r"BatchSession\(model\)\.(\w+)", BatchSession),
        (r"`_core\.(\w+)", _core),
        (r"`(?:\w+ = )?([A-Z]\w+)\((?!path|model)", None),
    ],
)
def test_names_exist(pattern: str, where: Any) -> None:
    found = set(re.findall(pattern, OURS))
    assert found
    for name in found:
        if where is None:
            assert name in llamasmith.__all__ or name in samplers.__all__ or name == "ChatTemplate", name
        else:
            assert hasattr(where, name), f"{where.__name__} has no {name}"


def test_results_have_what_is_promised() -> None:
    fields = {*Generation.__dataclass_fields__, *Timings.__dataclass_fields__, *dir(Timings), "timings", "result"}
    for name in re.findall(r"`\.(\w+)(?:\.(\w+))?", OURS):
        assert set(filter(None, name)) <= fields, name
