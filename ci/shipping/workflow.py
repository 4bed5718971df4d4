"""The matrix as a workflow of GitHub Actions: one job for each row that is released, by cibuildwheel, from one sdist.

The container only builds and repairs. What it made is then proven as it is on any machine, by ci/wheels.py --check.
"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import yaml

from .matrix import ANY_PYTHON, ROOT
from .repair import repair_command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .matrix import Row

HEADER = """\
# Made by `ci/workflow.py` from ci/matrix.toml. Do not edit: change the matrix or ci/shipping/workflow.py, run it again.
# tests/package/test_workflow.py makes it anew and compares.
"""
# Pinned by version. A commit's hash would be stronger, and cannot be looked up without a network: who publishes from
# this workflow should replace each version here by the hash of that tag.
CHECKOUT = "actions/checkout@v7"
SETUP_PYTHON = "actions/setup-python@v7"
UPLOAD = "actions/upload-artifact@v7"
DOWNLOAD = "actions/download-artifact@v8"
PUBLISH = "pypa/gh-action-pypi-publish@release/v1"
CIBUILDWHEEL = "cibuildwheel==4.3.5"

PYTHON = "3.12"
RUNNERS = {"x86_64": "ubuntu-24.04", "aarch64": "ubuntu-24.04-arm"}
TREE = "tree"  # the unpacked source distribution, below the checkout
MINUTES = {"sdist": 15, "wheels": 120, "cuda": 350, "publish": 20}


class _Text(str):
    """Written as a block, line by line."""

    __slots__ = ()


def _block(dumper: yaml.SafeDumper, text: _Text) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


class _Dumper(yaml.SafeDumper):
    """Blocks for scripts, and items of lists set in from their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


_Dumper.add_representer(_Text, _block)


def text(rows: Iterable[Row]) -> str:
    """The whole file."""
    return HEADER + yaml.dump(workflow(rows), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def workflow(rows: Iterable[Row]) -> dict[str, Any]:
    released = [row for row in rows if row.release]
    return {
        "name": "wheels",
        "on": {
            "push": {"tags": ["v*"]},
            "pull_request": {"paths": ["ci/**", "cmake/**", "patches/**", "src/**", "vendor/**", "wheels/**"]},
            "workflow_dispatch": None,
        },
        "permissions": {"contents": "read"},
        "concurrency": {"group": "wheels-${{ github.ref }}", "cancel-in-progress": True},
        "jobs": {
            "sdist": sdist_job(),
            **{row.name: row_job(row) for row in released},
            "publish": publish_job([row.name for row in released]),
        },
    }


def script(*lines: str) -> _Text:
    return _Text("\n".join(lines) + "\n")


def python_steps(*versions: str) -> list[dict[str, Any]]:
    """A checkout, and these Pythons; the last one is `python`, and it is the one that our scripts run with."""
    others = [version for version in versions if version != PYTHON]
    wanted = script(*others, PYTHON) if others else PYTHON
    return [
        {"uses": CHECKOUT, "with": {"persist-credentials": False}},
        {"uses": SETUP_PYTHON, "with": {"python-version": wanted}},
    ]


def needed() -> str:
    """What our scripts need to check wheels, not to build them: from the extra [wheels]."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tools = ("build", "cmake", "ninja", "pybind11", "scikit-build-core")
    names = [word for word in project["optional-dependencies"]["wheels"] if not word.startswith(tools)]
    return shlex.join(names)


def upload(name: str, path: str) -> dict[str, Any]:
    return {"uses": UPLOAD, "with": {"name": name, "path": path, "if-no-files-found": "error"}}


def sdist_job() -> dict[str, Any]:
    return {
        "name": "source distribution",
        "runs-on": RUNNERS["x86_64"],
        "timeout-minutes": MINUTES["sdist"],
        "steps": [
            *python_steps(),
            {
                "name": "Fetch the pinned llama.cpp, make the source distribution",
                "run": script("python vendor/fetch.py", "python -m pip install build", "python -m build --sdist"),
            },
            upload("sdist", "dist/*.tar.gz"),
        ],
    }


def row_job(row: Row) -> dict[str, Any]:
    project = TREE if row.core else f"{TREE}/{row.folder}"
    # A backend's wheel is tried with the core's, which another job has made.
    needs = ["sdist", *row.companions]
    fetch = [{"uses": DOWNLOAD, "with": {"name": name, "path": "companions"}} for name in row.companions]
    companions = " --companions companions" if row.companions else ""
    return {
        "name": row.name,
        "needs": needs,
        "runs-on": RUNNERS[row.arch],
        "timeout-minutes": MINUTES["cuda" if row.cuda else "wheels"],
        "env": cibuildwheel_environment(row),
        "steps": [
            *python_steps(*(version for version in row.pythons if version != ANY_PYTHON)),
            {"uses": DOWNLOAD, "with": {"name": "sdist", "path": "sdist"}},
            *fetch,
            {
                "name": "Unpack the source distribution: wheels are built from it",
                "run": script(f"mkdir {TREE}", f"tar -xzf sdist/*.tar.gz --strip-components=1 -C {TREE}"),
            },
            {
                "name": "Build and repair",
                "run": script(
                    f"python -m pip install {CIBUILDWHEEL}",
                    f"python -m cibuildwheel --output-dir wheelhouse {project}",
                ),
            },
            {
                "name": "Contents, licences, size; install without a compiler, and try it",
                "run": script(
                    f"python -m pip install {needed()}",
                    f"python {TREE}/ci/wheels.py {row.name}{companions} --check wheelhouse/*.whl",
                ),
            },
            upload(row.name, "wheelhouse/*.whl"),
        ],
    }


def identifiers(row: Row) -> list[str]:
    """cibuildwheel's names for the builds of a row. One for all Pythons is built once, by the oldest of ours."""
    versions = ("3.10",) if row.pythons == (ANY_PYTHON,) else row.pythons
    return [f"cp{version.replace('.', '')}-manylinux_{row.arch}" for version in versions]


def cibuildwheel_environment(row: Row) -> Mapping[str, str]:
    environment = {
        "CIBW_BUILD": " ".join(identifiers(row)),
        "CIBW_ARCHS": row.arch,
        f"CIBW_MANYLINUX_{row.arch.upper()}_IMAGE": row.policy,
        "CIBW_BUILD_FRONTEND": "build",
        "CIBW_CONFIG_SETTINGS": shlex.join(row.settings()),
        "CIBW_ENVIRONMENT": "SOURCE_DATE_EPOCH=1667997441",
        "CIBW_REPAIR_WHEEL_COMMAND": f"{shlex.join(repair_command(row, row.policy))} -w {{dest_dir}} {{wheel}}",
    }
    return {name: value for name, value in environment.items() if value}


def publish_job(names: list[str]) -> dict[str, Any]:
    return {
        "name": "publish",
        "if": "startsWith(github.ref, 'refs/tags/v')",
        "needs": ["sdist", *names],
        "runs-on": RUNNERS["x86_64"],
        "timeout-minutes": MINUTES["publish"],
        "environment": "pypi",
        "permissions": {"contents": "read", "id-token": "write"},
        "steps": [
            *python_steps(),
            {"uses": DOWNLOAD, "with": {"path": "dist", "merge-multiple": True}},
            {
                "name": "Refuse what is not complete",
                "run": script(
                    f"python -m pip install {needed()}",
                    'python ci/release.py check dist --tag "$GITHUB_REF_NAME"',
                ),
            },
            {"uses": PUBLISH, "with": {"packages-dir": "dist"}},
        ],
    }
