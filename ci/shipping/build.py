"""An sdist of this tree, and a wheel of a row from that sdist, as a user builds it, so that both are proven."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from .matrix import ANY_PYTHON, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .matrix import Row

# The time in archives, unless the environment says another one: 2022-11-09, scikit-build-core's own.
EPOCH = "1667997441"


class StepFailed(Exception):
    """A step of making a wheel did not work; the text says which, why, and where its log is."""


def run(
    command: Sequence[object],
    log: Path,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Runs a command; what it says goes to a log, line by line to ``say``, and its end into StepFailed if it fails."""
    words = [str(word) for word in command]
    lines = []
    with log.open("a", encoding="utf-8", buffering=1) as file:
        file.write(f"$ {' '.join(words)}\n")
        with subprocess.Popen(
            words,
            cwd=cwd,
            env=env,
            umask=0o022,  # modes are a part of what is compared
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    file.write(line)
                    lines.append(line.rstrip())
                    say(lines[-1].strip())
            except BaseException:
                child.terminate()
                raise
        status = child.returncode
    if status != 0:
        tail = "\n".join(f"    {line}" for line in telling(lines))
        raise StepFailed(f"{' '.join(words[:5])} ... ended with status {status}:\n{tail}\n  log: {log}")


def telling(lines: list[str]) -> list[str]:
    """The lines of a log that say why: ours if there are any, else the last ones."""
    first = next((at for at, line in enumerate(lines) if "llamasmith: " in line or "error:" in line), None)
    return lines[-15:] if first is None else lines[first : first + 15]


def environment() -> dict[str, str]:
    """Ours, with tools of this interpreter's environment first, and nothing that changes what is built."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLAMASMITH_", "SKBUILD_"))}
    for name in ("CMAKE_ARGS", "CFLAGS", "CXXFLAGS", "LDFLAGS", "PYTHONPATH"):
        kept.pop(name, None)
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    kept.setdefault("SOURCE_DATE_EPOCH", EPOCH)
    return kept


def make_sdist(out: Path, log: Path, source: Path = ROOT) -> Path:
    """The source distribution of this checkout, or of other sources, alone in ``out``."""
    run([sys.executable, "vendor/fetch.py", "--quiet"], log, cwd=source, env=environment())
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", out, source]
    run(command, log, cwd=out, env=environment())
    (archive,) = out.iterdir()
    return archive


def unpack(sdist: Path, folder: Path) -> Path:
    """The one folder of the sdist, as ``folder/source``: paths then have one length, whatever the version is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tarfile.open(sdist) as tar:
        tar.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top.rename(folder / "source")


def interpreters(row: Row, asked: Sequence[str]) -> dict[str, str]:
    """Version -> interpreter, for the Pythons of a row that are asked for; by default the one that runs."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if row.pythons == (ANY_PYTHON,):
        return {ANY_PYTHON: sys.executable}
    wanted = list(row.pythons) if "all" in asked else list(asked) or [own]
    found = {}
    for version in wanted:
        if version not in row.pythons:
            raise StepFailed(f"row {row.name!r} is not for Python {version}. Its Pythons: {', '.join(row.pythons)}.")
        path = sys.executable if version == own else shutil.which(f"python{version}")
        if path is None:
            raise StepFailed(f"there is no python{version} on the PATH. Install it, or ask for another --python.")
        found[version] = path
    return found


def make_wheel(
    row: Row,
    source: Path,
    python: str,
    work: Path,
    log: Path,
    *,
    cache: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """The wheel of a row, built by an interpreter from unpacked sources, as it is before auditwheel."""
    out = work / "built"
    shutil.rmtree(out, ignore_errors=True)
    settings = [f"-C{word}" for word in row.settings()]
    command = [python, "-m", "pip", "wheel", "-v", "--no-deps", "--disable-pip-version-check", source / row.folder]
    command += ["-w", out, f"-Cbuild-dir={work / 'build'}", *settings]
    # A base folder would make ccache give the compiler relative paths, which -ffile-prefix-map does not map.
    speed = {"CCACHE_BASEDIR": ""} if cache else {"CCACHE_DISABLE": "1"}
    run(command, log, cwd=work, env={**environment(), **speed}, say=say)
    (wheel,) = out.glob("*.whl")
    return wheel
