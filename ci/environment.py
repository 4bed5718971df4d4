"""Makes ``.venv`` with llamasmith in it, for the commands beside this file: ``python environment.py [--extra NAME]``.

Looks first whether this machine has what the build needs, and says what is missing in a sentence, not in the middle of
a build. Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOG = ROOT / "build" / "install.log"
NEEDED_BYTES = 2_000_000_000  # the environment with its packages, the sources and the objects of three engines

_PROBE = "#include <thread>\nint main() { std::thread([] {}).join(); }\n"
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_DEBIAN = "On Debian and Ubuntu: apt-get install"


class Missing(Exception):
    """What this machine lacks, and how to get it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extra", default="bench", help="extra of the package to install as well")
    parser.add_argument("--backends", action="store_true", help="build openblas and rpc too, so that they are tested")
    args = parser.parse_args()
    try:
        for check in (check_disk, check_venv, check_headers, check_compiler):
            check()
        make_venv()
        check_index()
        install(args.extra, backends=args.backends)
    except Missing as missing:
        print(f"llamasmith: {missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nllamasmith: interrupted. Run it again: what is built already is kept.", file=sys.stderr)
        return 130
    return 0


def check_disk() -> None:
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES and not (ROOT / "build").exists():
        raise Missing(
            f"{free / 1e9:.1f} GB are free where {ROOT} lies; the build needs about {NEEDED_BYTES / 1e9:.0f} GB."
        )


def check_venv() -> None:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise Missing(
            f"this Python ({sys.executable}) cannot make environments (no ensurepip). {_DEBIAN} {_PYTHON}-venv"
        ) from None


def check_headers() -> None:
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise Missing(
            f"the headers of this Python ({sys.executable}) are not there ({header}). {_DEBIAN} {_PYTHON}-dev"
        )


def check_compiler() -> None:
    """Compiles and runs a small program: a compiler without its libraries is as good as none."""
    for variable, names in (("CC", ("cc", "gcc", "clang")), ("CXX", ("c++", "g++", "clang++"))):
        asked = os.environ.get(variable, "")
        if asked and shutil.which(asked.split()[0]) is None:
            raise Missing(f"{variable} is {asked!r}, which is not there. Unset it, or set it to a compiler.")
        if not asked and not any(map(shutil.which, names)):
            language = "C" if variable == "CC" else "C++"
            raise Missing(f"no {language} compiler found ({', '.join(names)}). {_DEBIAN} build-essential")
    words = (os.environ.get("CXX") or next(name for name in ("c++", "g++", "clang++") if shutil.which(name))).split()
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "probe.cpp", Path(folder) / "probe"
        source.write_text(_PROBE, encoding="utf-8")
        done = subprocess.run(
            [*words, "-std=c++17", "-pthread", source, "-o", program], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Missing(f"the compiler {' '.join(words)} cannot build a C++17 program: {done.stderr.strip()[-600:]}")
        if subprocess.run([program], check=False).returncode != 0:
            raise Missing(f"what the compiler {' '.join(words)} builds does not run here.")


def make_venv() -> None:
    python = VENV / "bin" / "python"
    if (
        python.exists()
        and subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    ):
        return
    print(f"Making {VENV.name} with Python {sys.version.split()[0]}", flush=True)
    done = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Missing(f"no environment could be made in {VENV}: {(done.stderr or done.stdout).strip()[-600:]}")


def check_index() -> None:
    """One small package tells whether there is an index to install from; pip's own message comes after minutes."""
    command = ["-m", "pip", "download", "--no-deps", "--quiet", "--retries", "1", "--timeout", "20", "--dest"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [VENV / "bin" / "python", *command, folder, "typing-extensions"],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise Missing(
            "no package index answers, and the installation needs one (for scikit-build-core, pybind11, numpy, ...). "
            "pip heeds PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_PROXY and its configuration files. It said: "
            + " ".join(lines[-2:])
        )


def install(extra: str, *, backends: bool) -> None:
    """pip, with a line that shows how far it is; everything it says goes to a log."""
    LOG.parent.mkdir(exist_ok=True)
    # A build folder that stays: the next run compiles only what has changed.
    command = [VENV / "bin" / "python", "-m", "pip", "install", "-v", "--disable-pip-version-check"]
    command += [f"{ROOT}[{extra}]", "-C", f"build-dir={ROOT}/build/{{wheel_tag}}"]
    if backends:
        command += ["-C", "cmake.define.LLAMASMITH_BACKENDS=cpu;openblas;rpc", "-C", "build.requires=scipy-openblas32"]
    print(f"Installing llamasmith[{extra}]; the first time takes some minutes, most of them compiling", flush=True)
    start = time.monotonic()
    with LOG.open("w", encoding="utf-8") as log:
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        assert child.stdout is not None
        last = start
        try:
            for what in steps(log_lines(child.stdout, log)):
                now = time.monotonic()
                # On a terminal one line that changes; in a log a line now and then.
                if sys.stdout.isatty():
                    print(
                        f"\r\033[K  {int(now - start) // 60}:{int(now - start) % 60:02}  {what[:66]}",
                        end="",
                        flush=True,
                    )
                elif now - last >= 30:
                    print(f"  {int(now - start) // 60}:{int(now - start) % 60:02}  {what}", flush=True)
                    last = now
        finally:
            if sys.stdout.isatty():
                print("\r\033[K", end="", flush=True)
        status = child.wait()
    if status != 0:
        raise Missing(f"the installation failed; the last it said:\n\n{excerpt()}\n\nAll of it is in {LOG}.")
    print(f"Installed in {time.monotonic() - start:.0f} s", flush=True)


def log_lines(lines: Iterator[str], log: TextIO) -> Iterator[str]:
    for line in lines:
        log.write(line)
        yield line.strip()


def steps(lines: Iterator[str]) -> Iterator[str]:
    """What pip and ninja are at, in words."""
    part = "libraries"
    for line in lines:
        if found := re.match(r"\[(\d+)/(\d+)\]", line):
            if step := re.search(r"Performing build step for 'engine-(\S+)'", line):
                part = f"engine {step[1]}"
            yield f"compiling, {part}: {found[1]} of {found[2]}"
        elif line.startswith(("Collecting ", "Downloading ", "Installing ", "Building wheel")):
            yield line
        elif line.startswith("-- llamasmith"):
            yield line[3:]


def excerpt() -> str:
    """The part of the log that tells why: from the first error of a compiler, CMake or ours, else the end."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = re.compile(r"\berror:|CMake Error|llamasmith: |^ERROR", re.IGNORECASE)
    first = next((i for i, line in enumerate(lines) if telling.search(line)), None)
    chosen = lines[-20:] if first is None else lines[max(0, first - 3) : first + 17]
    return "\n".join(f"    {line.rstrip()}" for line in chosen)


if __name__ == "__main__":
    sys.exit(main())
