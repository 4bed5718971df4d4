"""The build backend: scikit-build-core, but for one thing, so that a wheel can hold its bill of materials.

The bill (``.dist-info/sboms``, PEP 770) is written by the build, so it is not there yet when a frontend asks for the
metadata alone. scikit-build-core 1.1 compares both byte by byte when it gets the earlier ones, and stops at a file that
they lack. Until it knows such files, it does not get them.
"""

from __future__ import annotations

import os

import scikit_build_core.build
from scikit_build_core.build import *  # noqa: F403 (the hooks that are the same)

# Read by Package.cmake: under scikit-build-core alone, a bill would stop the build.
os.environ["LLAMASMITH_BUILD_BACKEND"] = "1"

Settings = dict[str, "list[str] | str"]


def build_wheel(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 517's hook of this name."""
    del metadata_directory
    return scikit_build_core.build.build_wheel(wheel_directory, config_settings)


def build_editable(
    wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None
) -> str:
    """PEP 660's hook of this name."""
    del metadata_directory
    return scikit_build_core.build.build_editable(wheel_directory, config_settings)
