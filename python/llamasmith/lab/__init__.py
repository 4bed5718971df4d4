"""The lab: does B beat A on this machine, for this model, and by how much?

An experiment has arms, each of them a process of its own (`worker`), measured in balanced rounds (`runner`), compared
by paired ratios (`stats`) and kept as a record (`record`). Only the workers import the compiled extension.
"""

from __future__ import annotations

from .arm import Arm, default_arms, parse_arm, parse_arms
from .extra import check_dependencies
from .plan import Experiment, Metric, common_settings
from .record import build_record, check_writable, json_schema, write_record
from .results import Results
from .runner import ArmEnded, Event, Progress, run

__all__ = [
    "Arm",
    "ArmEnded",
    "Event",
    "Experiment",
    "Metric",
    "Progress",
    "Results",
    "build_record",
    "check_dependencies",
    "check_writable",
    "common_settings",
    "default_arms",
    "json_schema",
    "parse_arm",
    "parse_arms",
    "run",
    "write_record",
]
