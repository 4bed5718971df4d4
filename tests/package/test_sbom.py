"""The bill of materials: valid CycloneDX, inside the installation, the same facts as the record of the build."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

import llamasmith
from llamasmith.build import package_root

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> Any:
    return load_script(ROOT / "cmake" / f"{name}.py")


@pytest.fixture(scope="module")
def sbom() -> Any:
    return script("sbom")


@pytest.fixture
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((package_root() / "build.json").read_text(encoding="utf-8"))
    return found


def bill_of(sbom: Any, record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    given = {"name": "llamasmith", "version": "0.1.0", "pybind11": "3.1.0", "source_digest": "ab" * 32, **changes}
    bill: dict[str, Any] = sbom.document(record, **given)
    return bill


def invalid(bill: dict[str, Any]) -> str:
    """What CycloneDX's own schema says against it; empty if it is valid."""
    try:
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator
    except ImportError:
        pytest.skip("cyclonedx-python-lib is not there: pip install 'llamasmith[test]'")
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill))
    return "" if error is None else repr(error)


def values(component: dict[str, Any]) -> dict[str, str]:
    return {item["name"].removeprefix("llamasmith:"): item["value"] for item in component["properties"]}


def test_what_is_installed_has_one() -> None:
    """Where PEP 770 says, and as true as build_info()."""
    files = [file for file in metadata.files("llamasmith") or () if file.parent.name == "sboms"]
    assert [file.name for file in files] == ["llamasmith.cdx.json"]
    assert files[0].parent.parent.name.endswith(".dist-info")
    bill = json.loads(files[0].read_text(encoding="utf-8"))
    assert invalid(bill) == ""

    info = llamasmith.build_info()
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("llamasmith", llamasmith.__version__)
    facts = values(root)
    assert facts["engines"].split() == list(info.engines)
    assert facts["backends"].split() == list(info.backends)
    assert facts.get("cpu_flags", "").split() == list(info.cpu_flags)
    assert (facts["cpu"], facts["compiler"]) == (info.cpu, info.compiler["name"])
    assert facts["engine_flags"] == info.compiler["engine_flags"]
    components = {component["bom-ref"]: component for component in bill["components"]}
    upstream = components[f"pkg:github/ggml-org/llama.cpp@{info.pin}"]
    assert values(upstream) == {"tree_digest": info.tree_digest, "series_digest": info.series_digest}
    for patch in info.patches:
        assert components[f"patch:{patch.name}"]["hashes"] == [{"alg": "SHA-256", "content": patch.sha256}]
    patched = [item["diff"]["url"] for item in upstream["pedigree"]["patches"]]
    assert patched == [f"patches/{patch.name}" for patch in info.patches]


def test_the_same_build_gives_the_same_bill(sbom: Any, record: dict[str, Any]) -> None:
    one = bill_of(sbom, record)
    assert one == bill_of(sbom, copy.deepcopy(record))
    other = bill_of(sbom, {**record, "cpu": "toaster"})
    assert other["serialNumber"] != one["serialNumber"]
    assert "timestamp" not in one["metadata"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patches": []},
        {"engines": []},
        {"skipped": ["a.patch", "b.patch"], "requested": {"LLAMASMITH_CPU": "baseline", "GGML_AVX2": ""}},
        {"patches": [{"name": "my own.patch", "subject": "x", "scope": "core", "sha256": "0" * 64, "origin": "extra"}]},
    ],
)
def test_it_is_valid_whatever_was_built(sbom: Any, record: dict[str, Any], changes: dict[str, Any]) -> None:
    bill = bill_of(sbom, {**record, **changes})
    assert invalid(bill) == ""
    refs = [component["bom-ref"] for component in bill["components"]]
    assert len(set(refs)) == len(refs)
    assert {ref for entry in bill["dependencies"] for ref in entry["dependsOn"]} <= set(refs)


def test_without_the_extension_there_is_no_pybind11(sbom: Any, record: dict[str, Any]) -> None:
    names = [component["name"] for component in bill_of(sbom, record, pybind11="")["components"]]
    assert "pybind11" not in names
    assert "pybind11" in [component["name"] for component in bill_of(sbom, record)["components"]]


def test_cmake_asks_for_one_without_the_extension(record: dict[str, Any], tmp_path: Path) -> None:
    """As for a backend's wheel: CMake drops an empty argument, and the script then misses its value."""
    cmake = shutil.which("cmake", path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])))
    if cmake is None:
        pytest.skip("there is no cmake: pip install 'llamasmith[test]'")
    call = re.search(
        r"llamasmith_python\(\s*COMMAND cmake/sbom\.py.*?FAILS_WITH [^)]*\)",
        (ROOT / "cmake" / "Package.cmake").read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert call is not None
    facts = {
        "PROJECT_SOURCE_DIR": ROOT,
        "PROJECT_BINARY_DIR": tmp_path,
        "Python_EXECUTABLE": sys.executable,
        "SKBUILD_PROJECT_NAME": "llamasmith-openblas",
        "SKBUILD_PROJECT_VERSION_FULL": "1.0",
    }
    given = "".join(f'set({name} "{value}")\n' for name, value in facts.items())
    (tmp_path / "build.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "ask.cmake").write_text(f'{given}include("{ROOT}/cmake/Scripts.cmake")\n{call[0]}\n', encoding="utf-8")
    done = subprocess.run([cmake, "-P", tmp_path / "ask.cmake"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert bill["metadata"]["component"]["name"] == "llamasmith-openblas"
    assert "pybind11" not in [component["name"] for component in bill["components"]]


def test_a_wrong_bill_is_found_out(sbom: Any, record: dict[str, Any]) -> None:
    """The validator does refuse: an unknown hash, a component without a type."""
    bill = bill_of(sbom, record)
    bill["components"][-1].pop("type")
    assert "type" in invalid(bill)


def test_each_licence_is_found_where_the_code_comes_from(tmp_path: Path) -> None:
    licences = script("licences")
    vendor = ROOT / "vendor" / "llama.cpp"
    if not vendor.is_dir():
        pytest.skip("vendor/llama.cpp is not there; fetch it with: python vendor/fetch.py")
    include = tmp_path / "pybind11" / "include"
    include.mkdir(parents=True)
    text = tmp_path / "pybind11-3.1.0.dist-info" / "licenses" / "LICENSE"
    text.parent.mkdir(parents=True)
    text.write_text("BSD", encoding="utf-8")
    found = licences.gather(vendor, include)
    assert found["pybind11.txt"] == "BSD"
    assert found["llama.cpp.txt"].startswith("MIT License")
    assert found["llamafile-sgemm.txt"].startswith("Copyright 2024 Mozilla Foundation\n\nPermission is hereby")
    assert "LINEAR ALGEBRA" not in found["llamafile-sgemm.txt"]
    text.unlink()
    assert "pybind11.txt" not in licences.gather(vendor, include)
