"""The core's build backend, which a project in a folder below cannot name: a backend's path must lie in the project."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cmake" / "pep517"))

from llamasmith_build import *  # noqa: F403
