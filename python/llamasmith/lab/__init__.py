"""The lab: does B beat A on this machine, for this model, and by how much?

An experiment (`plan`) has arms, each of them a process of its own (`worker`), measured in balanced rounds (`cell`)
under one condition after another (`runner`), compared by paired ratios (`stats`) and kept as a record (`record`). Only
the workers import the compiled extension.
"""

from __future__ import annotations

from .archive import read_record
from .arm import Arm, default_arms, parse_arm, parse_arms
from .compare import check_comparable, check_same_facts, differences
from .condition import IDLE, Condition, parse_condition
from .events import ArmEnded, CellNotRun, Event, Progress
from .extra import check_dependencies
from .plan import Experiment, Metric, Quality, common_settings, parse_metric
from .record import build_record, check_writable, json_schema, restore_results, write_record
from .results import Results
from .runner import resume, run

__all__ = [
    "IDLE",
    "Arm",
    "ArmEnded",
    "CellNotRun",
    "Condition",
    "Event",
    "Experiment",
    "Metric",
    "Progress",
    "Quality",
    "Results",
    "build_record",
    "check_comparable",
    "check_dependencies",
    "check_same_facts",
    "check_writable",
    "common_settings",
    "default_arms",
    "differences",
    "json_schema",
    "parse_arm",
    "parse_arms",
    "parse_condition",
    "parse_metric",
    "read_record",
    "restore_results",
    "resume",
    "run",
    "write_record",
]
