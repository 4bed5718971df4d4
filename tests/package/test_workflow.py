"""The workflow on GitHub: made from the matrix, valid by the public schema, nothing published before all is there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import yaml
from shipping_world import ROOT

from shipping.matrix import load
from shipping.workflow import identifiers, text, workflow

FILE = ROOT / ".github" / "workflows" / "wheels.yml"
RELEASED = [row for row in load().values() if row.release]


def test_it_is_what_the_matrix_says() -> None:
    assert FILE.read_text(encoding="utf-8") == text(load().values()), "write it anew: python ci/workflow.py"


def test_it_is_valid_by_the_public_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named" in done.stderr:
        pytest.skip("check-jsonschema is not there: pip install 'llamasmith[test]'")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_would_refuse_a_wrong_one(tmp_path: Any) -> None:
    broken = tmp_path / "wheels.yml"
    broken.write_text(FILE.read_text(encoding="utf-8").replace("runs-on:", "run-on:", 1), encoding="utf-8")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named" in done.stderr:
        pytest.skip("check-jsonschema is not there: pip install 'llamasmith[test]'")
    assert done.returncode == 1


def test_a_job_for_each_row_and_publishing_waits_for_all() -> None:
    jobs = yaml.safe_load(FILE.read_text(encoding="utf-8"))["jobs"]
    assert set(jobs) == {"sdist", "publish", *(row.name for row in RELEASED)}
    publish = jobs["publish"]
    assert set(publish["needs"]) == set(jobs) - {"publish"}
    assert publish["if"] == "startsWith(github.ref, 'refs/tags/v')"
    steps = [step.get("run", step.get("uses", "")) for step in publish["steps"]]
    (refuse,) = [at for at, step in enumerate(steps) if "ci/release.py check dist" in step]
    (upload,) = [at for at, step in enumerate(steps) if "gh-action-pypi-publish" in step]
    assert refuse < upload
    may_publish = [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})]
    assert may_publish == ["publish"]


def test_it_names_each_action_with_a_version() -> None:
    jobs = workflow(load().values())["jobs"]
    used = {step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step}
    assert len(used) == 5
    assert all("@" in action and not action.endswith(("@main", "@master")) for action in used)


@pytest.mark.parametrize("row", RELEASED, ids=lambda row: str(row.name))
def test_cibuildwheel_knows_what_it_is_asked_to_build(row: Any) -> None:
    """What the environment of a job makes it build: the row's Pythons, and nothing else."""
    environment = workflow([row])["jobs"][row.name]["env"]
    command = [sys.executable, "-m", "cibuildwheel", "--platform", "linux", "--print-build-identifiers", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if "No module named" in done.stderr:
        pytest.skip("cibuildwheel is not there: pip install 'llamasmith[test]'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == identifiers(row)
