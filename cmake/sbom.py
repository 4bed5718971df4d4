"""Writes the bill of materials, a CycloneDX document, from the record of the build. Called by Package.cmake.

Plain JSON by hand, so that a build needs no package for it; tests/package/test_sbom.py validates it with CycloneDX's
own schema. It has no time and no random number: the same build gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llamasmith.patchset.pin import digest_of, tree_listing

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM = "https://github.com/ggml-org/llama.cpp"
SGEMM = "ggml/src/ggml-cpu/llamafile/sgemm.cpp"


def licence(identifier: str) -> list[dict[str, Any]]:
    return [{"license": {"id": identifier}}]


def sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def properties(values: dict[str, Any]) -> list[dict[str, str]]:
    """Facts that CycloneDX has no field for, under our own prefix; lists are joined."""
    texts = {key: " ".join(value) if isinstance(value, list) else str(value) for key, value in values.items()}
    return [{"name": f"llamasmith:{key}", "value": text} for key, text in texts.items() if text]


def patch_component(patch: dict[str, Any]) -> dict[str, Any]:
    """A patch as a file of its own. One of the user's may lie anywhere, and has no licence that we know."""
    ours = patch["origin"] == "series"
    return {
        "type": "file",
        "bom-ref": f"patch:{patch['name']}",
        "name": f"patches/{patch['name']}" if ours else patch["name"],
        "description": patch["subject"],
        "hashes": sha256(patch["sha256"]),
        **({"licenses": licence("MIT")} if ours else {}),
        "properties": properties({"origin": patch["origin"], "scope": patch["scope"]}),
    }


def upstream_component(record: dict[str, Any]) -> dict[str, Any]:
    """llama.cpp as we build it: the pinned commit, with patches."""
    pin, purl = record["pin"], f"pkg:github/ggml-org/llama.cpp@{record['pin']}"
    pristine = {"type": "library", "bom-ref": f"{purl}#pristine", "name": "llama.cpp", "version": pin, "purl": purl}
    patches = [
        {"type": "unofficial", "diff": {"url": quote(f"patches/{patch['name']}")}} for patch in record["patches"]
    ]
    return {
        "type": "library",
        "bom-ref": purl,
        "name": "llama.cpp",
        "version": pin,
        "description": "libllama and ggml; the engines named upstream are built without the patches",
        "licenses": licence("MIT"),
        "purl": purl,
        "externalReferences": [{"type": "vcs", "url": UPSTREAM}],
        "pedigree": {
            "ancestors": [pristine],
            "commits": [{"uid": pin, "url": f"{UPSTREAM}/commit/{pin}"}],
            **({"patches": patches} if patches else {}),
        },
        "properties": properties({"tree_digest": record["tree_digest"], "series_digest": record["series_digest"]}),
    }


def sgemm_component() -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"llamafile:{SGEMM}",
        "name": SGEMM,
        "description": "tinyBLAS of llamafile, a part of the CPU engines",
        "licenses": licence("MIT"),
        "copyright": "Copyright 2024 Mozilla Foundation",
    }


def pybind11_component(version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/pybind11@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": "pybind11",
        "version": version,
        "description": "headers, compiled into the extension _core",
        "licenses": licence("BSD-3-Clause"),
        "purl": purl,
    }


def json_component() -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": "nlohmann-json",
        "name": "nlohmann-json",
        "description": "headers that llama.cpp brings along, compiled into the extension _core: JSON schemas",
        "licenses": licence("MIT"),
        "purl": "pkg:github/nlohmann/json",
    }


def document(record: dict[str, Any], *, name: str, version: str, pybind11: str, source_digest: str) -> dict[str, Any]:
    """The whole bill. ``pybind11`` is its version, empty where the extension is not built."""
    compiler = record["compiler"]
    facts = {
        "source_digest": source_digest,
        "engines": record["engines"],
        "backends": record["backends"],
        "cpu": record["cpu"],
        "cpu_flags": record["cpu_flags"],
        "compiler": compiler["name"],
        "build_type": compiler["build_type"],
        "engine_flags": compiler["engine_flags"],
        "tools": record["tools"],
        "skipped_patches": record["skipped"],
        **{f"requested:{option}": value for option, value in record["requested"].items()},
    }
    root = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "licenses": licence("MIT"),
        "purl": f"pkg:pypi/{name}@{version}",
        "properties": properties(facts),
    }
    upstream = upstream_component(record)
    patches = [patch_component(patch) for patch in record["patches"]]
    direct = [upstream, *([pybind11_component(pybind11), json_component()] if pybind11 else [])]
    inside = [*patches, *([sgemm_component()] if record["engines"] else [])]
    compiler_name, _, compiler_version = compiler["name"].partition(" ")
    tool = {"type": "application", "name": compiler_name, "version": compiler_version}
    body: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"lifecycles": [{"phase": "build"}], "tools": {"components": [tool]}, "component": root},
        "components": [*direct, *inside],
        "dependencies": [
            {"ref": root["bom-ref"], "dependsOn": [component["bom-ref"] for component in direct]},
            {"ref": upstream["bom-ref"], "dependsOn": [component["bom-ref"] for component in inside]},
        ],
    }
    content = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {**body, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("record", "name", "version", "pybind11", "out"):
        parser.add_argument(f"--{option}", required=True)
    args = parser.parse_args()
    record = json.loads(Path(args.record).read_text(encoding="utf-8"))
    bill = document(
        record,
        name=args.name or "llamasmith",
        version=args.version or "0",
        pybind11=args.pybind11,
        source_digest=digest_of(tree_listing(ROOT, ["src"])),
    )
    Path(args.out).write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
