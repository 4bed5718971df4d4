"""The thread budget: how many CPUs this process may really use, which ones first, and why."""

from __future__ import annotations

from .budget import Budget, thread_budget
from .cgroup import cpu_groups
from .topology import Node

__all__ = ["Budget", "Node", "cpu_groups", "thread_budget"]
