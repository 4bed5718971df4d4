"""Finds a CUDA toolkit: the system's, or one made of nothing but wheels. Called by CudaToolkit.cmake.

The wheels unpack into ``nvidia/cu<major>/`` and lack what a build looks for: ``lib64``, and libraries without a version
in their name. So an overlay is made in the build folder, a tree of links with these, and with libraries from a wheel
where a system's toolkit has none. Nothing is written into site-packages.

Writes ``cuda-toolkit.cmake`` and ``cuda-toolkit.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cuda_compiler import Version, ask_nvcc, in_words, known_architectures, parse_version
from cuda_gpus import architectures, gpus_here
from cuda_pieces import PIECES, has, how_to_get, links_are_there, make_overlay, runtime_version

from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


# What the pinned llama.cpp is written for today; older ones lack types that it uses.
OLDEST: Version = (12, 0)


@dataclass(frozen=True)
class Toolkit:
    """What the build uses."""

    root: Path  # what CMake is told: the toolkit itself, or the overlay
    nvcc: Path
    version: Version
    source: str  # where it comes from, in words
    wheels: bool


@dataclass(frozen=True)
class Candidate:
    """A folder with bin/nvcc. `asked`: somebody named it, so that nothing else may be taken instead."""

    root: Path
    nvcc: Path
    source: str
    asked: bool = False
    wheels: bool = False


def folders_of_wheels(places: Sequence[Path]) -> list[Path]:
    """The ``nvidia/cu<major>`` folders of these site-packages, the newest toolkit of each first."""
    found: list[Path] = []
    for place in places:
        folders = [folder for folder in place.glob("nvidia/cu[0-9]*") if folder.is_dir()]
        found += sorted(folders, key=lambda folder: int(re.sub(r"\D", "", folder.name)), reverse=True)
    return list(dict.fromkeys(found))


def site_packages(environment: Mapping[str, str], path: Sequence[str]) -> list[Path]:
    """Where wheels may be: in the build's own environment, else in the user's active one."""
    places = [Path(place) for place in path if place]
    if environment.get("VIRTUAL_ENV"):
        places += sorted(Path(environment["VIRTUAL_ENV"]).glob("lib/python*/site-packages"))
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def _behind(nvcc: Path) -> tuple[Path, Path]:
    """The toolkit and the compiler behind a name, which may be a link, or a script that calls the real one."""
    real = nvcc.resolve()
    if real.is_file() and real.stat().st_size < 4096:
        called = re.search(rb"exec\s+\"?(/[^\s\"]*/nvcc)", real.read_bytes())
        if called:
            real = Path(os.fsdecode(called[1])).resolve()
    return real.parent.parent, real


def candidates(
    given_root: str, environment: Mapping[str, str], places: Sequence[Path], usual: Sequence[Path]
) -> Iterator[Candidate]:
    """Toolkits in the order in which they are wanted."""
    named = given_root or environment.get("CUDAToolkit_ROOT", "")
    if named:
        root = Path(named)
        wheels = root.parent.name == "nvidia"
        yield Candidate(root, root / "bin" / "nvcc", f"CUDAToolkit_ROOT={named}", asked=True, wheels=wheels)
        return
    if environment.get("CUDACXX"):
        compiler = environment["CUDACXX"]
        found = shutil.which(compiler, path=environment.get("PATH", ""))
        root, nvcc = _behind(Path(found or compiler))
        yield Candidate(root, nvcc, f"CUDACXX={compiler}", asked=True)
        return
    for folder in folders_of_wheels(places):
        yield Candidate(folder, folder / "bin" / "nvcc", f"wheels in {folder}", wheels=True)
    found = shutil.which("nvcc", path=environment.get("PATH", ""))
    if found:
        root, nvcc = _behind(Path(found))
        yield Candidate(root, nvcc, f"nvcc on the PATH: {found}")
    for root in usual:
        yield Candidate(root, root / "bin" / "nvcc", str(root))


def _looks_like_a_toolkit(root: Path) -> bool:
    """Not /usr, where a distribution strews it over the system: CMake knows these places."""
    return (root / "nvvm").is_dir() or ((root / "include").is_dir() and root not in (Path("/usr"), Path("/")))


def fitting(version: Version, major: int | None) -> str:
    """What is wrong with a toolkit of that version, in words; empty if nothing is."""
    if version < OLDEST:
        return f"is version {in_words(version)}; the pinned llama.cpp needs {in_words(OLDEST)} or newer"
    if major and version[0] != major:
        return f"is version {in_words(version)}; LLAMASMITH_CUDA_MAJOR asks for {major}"
    return ""


def choose(wanted: Iterator[Candidate], lenders: Sequence[Path], overlay: Path, major: int | None = None) -> Toolkit:
    """The first usable candidate, completed by wheels where it lacks something. Raises BuildError."""
    tried: list[str] = []
    for candidate in wanted:
        if not candidate.nvcc.is_file():
            if candidate.asked:
                raise BuildError(
                    f"{candidate.source} has no compiler: there is no {candidate.nvcc}. Name the folder that holds "
                    f"bin/nvcc, or leave it out to search the usual places."
                )
            if candidate.wheels:
                tried.append(f"{candidate.root} has no nvcc")
            continue
        version = parse_version(ask_nvcc(candidate.nvcc, "--version"))
        if version is None:
            raise BuildError(f"{candidate.nvcc} does not say which version of CUDA it is. Is it NVIDIA's nvcc?")
        wrong = fitting(version, major)
        if wrong and candidate.asked:
            raise BuildError(
                f"The CUDA toolkit from {candidate.source} {wrong}. Name another one, or install the wheels: "
                f"{how_to_get(PIECES, (major, 0) if major else None)}"
            )
        if wrong:
            tried.append(f"the one from {candidate.source} {wrong}")
            continue
        return complete(candidate, version, lenders, overlay)
    why = f" ({'; '.join(tried)})" if tried else ""
    raise BuildError(
        f"The backend cuda needs a CUDA toolkit of version {in_words(OLDEST)} or newer, and none fits{why}: no "
        f"CUDAToolkit_ROOT, no CUDACXX, no wheels, no nvcc on the PATH, nothing in /usr/local/cuda. Install NVIDIA's, "
        f"or its wheels: {how_to_get(PIECES, (major, 0) if major else None)}"
    )


def complete(candidate: Candidate, version: Version, lenders: Sequence[Path], overlay: Path) -> Toolkit:
    """The toolkit as it is, or an overlay that also has what wheels of the same major version have."""
    root = candidate.root
    if not _looks_like_a_toolkit(root):
        return Toolkit(root, candidate.nvcc, version, candidate.source, wheels=False)
    missing = [piece for piece in PIECES if not has(root, piece)]
    lent: list[Path] = []
    for lender in lenders:
        if missing and lender.name == f"cu{version[0]}" and lender != root:
            had = [piece for piece in missing if has(lender, piece)]
            if had:
                lent.append(lender)
                missing = [piece for piece in missing if piece not in had]
    if missing:
        names = ", ".join(piece.wheel.removeprefix("nvidia-") for piece in missing)
        raise BuildError(
            f"The CUDA toolkit {in_words(version)} from {candidate.source} is incomplete: it lacks {names}. Install "
            f"{'them' if len(missing) > 1 else 'it'} with: {how_to_get(missing, version)}"
        )
    runtime = runtime_version(root)
    if runtime and runtime != version:
        raise BuildError(
            f"The CUDA toolkit from {candidate.source} is of two versions: its compiler is {in_words(version)}, its "
            f"runtime {in_words(runtime)}, and they do not fit. Install one of them: {how_to_get(PIECES, version)}"
        )
    if lent or not links_are_there(root):
        make_overlay([root, *lent], overlay)
        source = candidate.source + "".join(f", completed from wheels in {lender}" for lender in lent)
        return Toolkit(overlay, overlay / "bin" / "nvcc", version, source, candidate.wheels or bool(lent))
    return Toolkit(root, candidate.nvcc, version, candidate.source, candidate.wheels)


def cmake_text(toolkit: Toolkit, chosen: Sequence[str]) -> str:
    facts = {
        "LLAMASMITH_CUDA_ROOT": str(toolkit.root),
        "LLAMASMITH_CUDA_COMPILER": str(toolkit.nvcc),
        "LLAMASMITH_CUDA_VERSION": in_words(toolkit.version),
        "LLAMASMITH_CUDA_BUILT_FOR": ";".join(chosen),
        "LLAMASMITH_CUDA_FROM": "wheels" if toolkit.wheels else "system",
    }
    return "".join(f"set({name} [==[{value}]==])\n" for name, value in facts.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="", help="CUDAToolkit_ROOT as CMake was given it")
    parser.add_argument("--architectures", default="")
    parser.add_argument("--major", default="", help="the major version that the toolkit must have")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    places = site_packages(os.environ, sys.path)
    wanted = candidates(args.root, os.environ, places, [Path("/usr/local/cuda"), Path("/opt/cuda")])
    if args.major and not args.major.isdigit():
        raise BuildError(f"LLAMASMITH_CUDA_MAJOR is {args.major!r}. Allowed: a number, such as 13, or nothing.")
    major = int(args.major) if args.major else None
    toolkit = choose(wanted, folders_of_wheels(places), args.out / "cuda-toolkit", major)
    chosen = architectures(args.architectures, toolkit.version, known_architectures(toolkit.nvcc), gpus_here)
    record = {key: str(value) for key, value in asdict(toolkit).items()}
    record.update(version=in_words(toolkit.version), architectures=";".join(chosen))
    (args.out / "cuda-toolkit.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (args.out / "cuda-toolkit.cmake").write_text(cmake_text(toolkit, chosen), encoding="utf-8")
    print(f"llamasmith: CUDA {in_words(toolkit.version)} ({toolkit.source}) for {', '.join(chosen)}")


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        sys.exit(f"\nllamasmith: {error}\n")
