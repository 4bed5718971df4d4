"""Tries an installed wheel, with the interpreter that it is installed for: ``python smoke.py [--model FILE] FACTS``.

FACTS is a JSON object: ``version``, ``tests``, ``backends`` (those of the row). Prints a JSON object: what was seen, or
``error``. Needs nothing but the installation; a copy of it is run from a folder of its own, away from any checkout.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TOKENS = 8
PROMPT = "The blacksmith opened the door of the forge and"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a GGUF file; without one nothing is generated")
    parser.add_argument("facts", type=json.loads)
    args = parser.parse_args()
    seen: dict[str, Any] = {}
    try:
        for name in args.facts["tests"]:
            TESTS[name](args, seen)
    except (AssertionError, ImportError, OSError, RuntimeError, ValueError, KeyError) as error:
        seen["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(seen))
    return 1 if "error" in seen else 0


def try_import(args: argparse.Namespace, seen: dict[str, Any]) -> None:
    """It is the installed package that is imported, of the right version, where nothing could have compiled it."""
    compilers = [name for name in ("cc", "gcc", "c++", "g++", "clang", "nvcc", "cmake", "ninja") if shutil.which(name)]
    assert not compilers, f"on the PATH there is a compiler or a build tool: {', '.join(compilers)}"
    import llamasmith

    home = Path(llamasmith.__file__).resolve()
    assert home.is_relative_to(Path(sys.prefix).resolve()), f"{home} was imported, which is not the installed one"
    assert llamasmith.__version__ == args.facts["version"], f"its version is {llamasmith.__version__}"
    info = llamasmith.build_info()
    seen.update(version=llamasmith.__version__, cpu=info.cpu, engines=info.engines, python=sys.version.split()[0])


def try_doctor(args: argparse.Namespace, seen: dict[str, Any]) -> None:
    """The doctor has no complaint."""
    found = doctor()
    assert found["ok"], "; ".join(problem["what"] for problem in found["said"]["problems"])
    seen["doctor"] = "ok"


def try_generate(args: argparse.Namespace, seen: dict[str, Any]) -> None:
    """The default engine generates tokens; the time counts from the start of a process of its own."""
    assert args.model, "there is no model to generate with"
    code = (
        "import sys, time; from llamasmith import Model, Session\n"
        "with Model(sys.argv[1]) as model, Session(model, n_ctx=256) as session:\n"
        "    first, pieces = 0, []\n"
        "    for piece in session.stream(sys.argv[2], max_tokens=int(sys.argv[3]), temperature=0, ignore_eos=True):\n"
        "        first = first or time.time()\n"
        "        pieces.append(piece)\n"
        "import json; print(json.dumps([first, ''.join(pieces)]))"
    )
    start = time.time()
    command = [sys.executable, "-c", code, args.model, PROMPT, str(TOKENS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"generating ended with status {done.returncode}: {done.stderr[-800:]}"
    first, text = json.loads(done.stdout.splitlines()[-1])
    assert text, "it generated no text"
    seen.update(first_token_seconds=first - start, text=text)


def try_backend(args: argparse.Namespace, seen: dict[str, Any]) -> None:
    """Each backend of the row is found, and loads."""
    states = backends_of(doctor()["said"])
    for name in args.facts["backends"]:
        state = states.get(name)
        assert state is not None, f"the backend {name} was not found; there are: {', '.join(states) or 'none'}"
        assert state.get("loadable"), f"the backend {name} does not load: {state.get('error')}"


def try_explained(args: argparse.Namespace, seen: dict[str, Any]) -> None:
    """Each backend of the row is found; it loads, or the doctor says why not (as for CUDA where there is no driver)."""
    states = backends_of(doctor()["said"])
    for name in args.facts["backends"]:
        state = states.get(name)
        assert state is not None, f"the backend {name} was not found; there are: {', '.join(states) or 'none'}"
        assert state.get("loadable") or state.get("error"), f"the backend {name} does not load, and nobody says why"
        seen[f"backend {name}"] = "loads" if state.get("loadable") else state["error"]


def doctor() -> dict[str, Any]:
    """``llamasmith doctor --json``: its exit status, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "llamasmith", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), f"doctor ended with status {done.returncode}: {done.stderr[-800:]}"
    return {"ok": done.returncode == 0, "said": json.loads(done.stdout)}


def backends_of(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {state["name"]: state for state in said["backend_states"]}


TESTS = {
    "import": try_import,
    "doctor": try_doctor,
    "generate": try_generate,
    "backend": try_backend,
    "explained": try_explained,
}

if __name__ == "__main__":
    sys.exit(main())
