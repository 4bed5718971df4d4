"""Reads records back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .extra import need
from .record import SCHEMA, json_schema

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_record"]

_NAME, _, _VERSION = SCHEMA.partition("/")


def read_record(path: Path) -> dict[str, Any]:
    """The record in a file, checked against the schema. Raises LabError with what is wrong with it."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"The record {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise LabError(f"{path} is no JSON file: {error}. Give a file that `--json` has written.") from error
    name, _, version = str(record.get("schema") if isinstance(record, dict) else None).partition("/")
    if name != _NAME or not version.isdecimal():
        raise LabError(f"{path} is no record of llamasmith: it has no schema {_NAME}/N.")
    if int(version) > int(_VERSION):
        raise LabError(
            f"{path} was written by a newer llamasmith ({name}/{version}; this one reads {SCHEMA}). Update llamasmith."
        )
    if int(version) < int(_VERSION):
        raise LabError(
            f"{path} was written by an earlier llamasmith ({name}/{version}; this one reads {SCHEMA}). Measure again, "
            f"or read it with that version."
        )
    validator = need("jsonschema").Draft202012Validator(json_schema())
    fault = need("jsonschema.exceptions").best_match(validator.iter_errors(record))
    if fault is not None:
        raise LabError(f"{path} is broken at {fault.json_path}: {fault.message[:300]}")
    return dict(record)
