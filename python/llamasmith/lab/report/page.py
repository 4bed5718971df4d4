"""Fills the template: one HTML file with all styles and pictures in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..extra import need
from ..words import times
from .svg import plain_rules
from .view import view

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["render"]


def render(record: Mapping[str, Any]) -> str:
    """A record as an HTML page. Raises MissingDependency without the packages of the extra ``[bench]``."""
    jinja2 = need("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["times"] = times
    with plain_rules():
        report = view(record)
    page: str = environment.get_template("report.html.j2").render(report=report)
    # What a terminal gave as bytes that are no text (lone surrogates) cannot be written as UTF-8.
    return page.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
