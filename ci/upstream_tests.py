"""Upstream's own tests against the engine ``patched``: a build of its own in ``build/upstream-tests``, then the runs.

Called by ``ci/upstream-tests``. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "upstream-tests"
NAMES = ("barrier", "thread-safety", "backend-ops")
MODEL = "smollm2-135m"
# The sub-build needs no more than this at once; each compiler of upstream's larger files takes about 1 GB.
JOBS = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2")
# Upstream's own arguments for test-thread-safety, but for the number of tokens: two copies of the model, four contexts
# with two threads each on both.
PROMPT, SAFETY = "The meaning of life is", "-ngl 99 -n 16 -c 256 -ub 32 -np 4 -t 2"
MOST_SECONDS = 3600  # a run that takes longer hangs


@dataclass(frozen=True)
class Run:
    """One run of a test: its name, the wait policy it is under, and what it is given."""

    test: str
    policy: str
    arguments: tuple[str, ...]

    @property
    def label(self) -> str:
        threads = f" {self.arguments[0]} threads" if self.test == "barrier" else ""
        return f"test-{self.test} {self.policy}{threads}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/upstream-tests", description=__doc__)
    parser.add_argument("--model", type=Path, help=f"for test-thread-safety; default: {MODEL}, pulled")
    parser.add_argument("--only", default=",".join(NAMES), help="of barrier, thread-safety, backend-ops")
    parser.add_argument("--ops", help="operations for test-backend-ops (ADD,MUL_MAT,...); default: all")
    options = parser.parse_args()
    tests = options.only.split(",")
    for test in tests:
        if test not in NAMES:
            parser.error(f"--only names {test!r}. Allowed: {', '.join(NAMES)}")
    if options.model is not None and not options.model.is_file():
        parser.error(f"--model: there is no file {options.model}")
    model = (options.model or pulled_model()).resolve() if "thread-safety" in tests else None
    build(tests)
    failed = [run.label for run in runs(tests, policies(), model, options.ops) if not passes(run)]
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else 'All passed.'} Logs: {(BUILD / 'logs').relative_to(ROOT)}")
    return 1 if failed else 0


def pulled_model() -> Path:
    command = [sys.executable, "-m", "llamasmith", "pull", MODEL]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT / "ci")
    if done.returncode != 0:
        sys.exit("ci/upstream-tests: no model. Name one with --model FILE.gguf, or run ci/test once, for its .venv.")
    return Path(done.stdout.strip().splitlines()[-1])


def policies() -> list[str]:
    """The names of the wait policies, from our own source: the tests are linked with it."""
    text = (ROOT / "src" / "threading" / "names.c").read_text(encoding="utf-8")
    table = re.search(r"policy_names\[.*?\]\s*=\s*\{(.*?)\}", text, re.DOTALL)
    if table is None:
        sys.exit("ci/upstream-tests: src/threading/names.c holds no table policy_names any more.")
    return re.findall(r'"(\w+)"', table[1])


def step(*command: object) -> None:
    words = [str(word) for word in command]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    with (BUILD / "build.log").open("a", encoding="utf-8") as log:
        done = subprocess.run(words, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        tail = (BUILD / "build.log").read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
        what = f"ci/upstream-tests: {' '.join(words[:4])} failed; all of it is in {BUILD}/build.log"
        sys.exit("\n".join([*tail, what]))


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        sys.exit(f"ci/upstream-tests: {name} is not there. Run ci/test once, which makes a .venv with it.")
    return found


def build(tests: list[str]) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "build.log").unlink(missing_ok=True)
    print("Building upstream's tests with the patched tree; the first time takes minutes", flush=True)
    start = time.monotonic()
    vendor, tree, source = ROOT / "vendor" / "llama.cpp", BUILD / "llama.cpp", BUILD / "source"
    step(sys.executable, "vendor/fetch.py")
    step(sys.executable, "vendor/fetch.py", "--tests", "--dest", source)
    apply = ("-m", "llamasmith.patchset", "apply", "--tree", vendor, "--series", "patches/series", "--dest", tree)
    step(sys.executable, *apply)
    configure = ("-S", "cmake/upstream-tests", "-B", BUILD / "build", "-G", "Ninja")
    definitions = (f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", f"-DTESTS_TREE={tree}", f"-DTESTS_SOURCE={source}")
    step(tool("cmake"), *configure, *definitions)
    targets = [f"test-{test}" for test in tests]
    step(tool("cmake"), "--build", BUILD / "build", f"-j{JOBS}", "--target", *targets)
    print(f"Built in {time.monotonic() - start:.0f} s", flush=True)


def runs(tests: list[str], names: list[str], model: Path | None, ops: str | None) -> list[Run]:
    """Few rounds where threads outnumber CPUs: `spin` takes milliseconds for each barrier then."""
    found = []
    for policy in names:
        if "barrier" in tests:
            found += [Run("barrier", policy, ("2", "20")), Run("barrier", policy, ("4", "1"))]
        if "thread-safety" in tests:
            found.append(Run("thread-safety", policy, ("-m", str(model), "-p", PROMPT, *SAFETY.split())))
    if "backend-ops" in tests:
        found.append(Run("backend-ops", names[-1], ("test", "-b", "CPU", *(("-o", ops) if ops else ()))))
    return found


def passes(run: Run) -> bool:
    logs = BUILD / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{re.sub('[^a-z0-9-]+', '-', run.label)}.log"
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as out:
        try:
            status = subprocess.run(
                [BUILD / "build" / "bin" / f"test-{run.test}", *run.arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LLAMASMITH_WAIT": run.policy},
                timeout=MOST_SECONDS,
                check=False,
            ).returncode
            how = "ok" if status == 0 else f"FAILED, status {status}"
        except subprocess.TimeoutExpired:
            how = f"FAILED, hangs: not done in {MOST_SECONDS} s"
    said = re.findall(r"\d+/\d+ (?:tests|backends) passed", log.read_text(encoding="utf-8", errors="replace"))
    print(f"  {run.label:32} {time.monotonic() - start:7.1f} s  {how}{': ' + said[0] if said else ''}", flush=True)
    return how == "ok"


if __name__ == "__main__":
    sys.exit(main())
