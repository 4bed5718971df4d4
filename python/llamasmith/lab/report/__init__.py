"""The report: a record as one HTML file that opens offline, on a phone, in the dark and on paper.

`view` turns the record into texts, tables and plots; the template `report.html.j2` lays them out. matplotlib and
jinja2 come with the extra ``[bench]`` and are imported when a report is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .page import render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["render", "write_report"]


def write_report(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the report of a record. Raises MissingDependency, or OSError where nothing can be written."""
    path.write_text(render(record), encoding="utf-8")
