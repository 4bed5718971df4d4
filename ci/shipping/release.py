"""Whether a folder holds a whole release: every wheel of the matrix and the sdist, of one version, its changes told."""

from __future__ import annotations

import datetime
import re
import sys
import tarfile
from typing import TYPE_CHECKING

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from . import contents
from .matrix import ANY_PYTHON, CORE, ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .matrix import Row

Key = tuple[str, str, str]  # distribution, interpreter tag, architecture


def version_of(root: Path = ROOT) -> str:
    """The version, from the one place where it is written: the pyproject.toml at the top."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def refusals(folder: Path, rows: Iterable[Row], *, root: Path = ROOT, tag: str | None = None) -> list[str]:
    """Why the files of a folder must not be published: a sentence each; none if they may."""
    if not folder.is_dir():
        return [f"there is no folder {folder}. Name the one with the wheels and the source distribution"]
    version = version_of(root)
    released = [row for row in rows if row.release]
    return [
        *_tag(tag, version),
        *_changelog(root / "CHANGELOG.md", version),
        *_sdist(folder, version),
        *_wheels(folder, released, version),
    ]


def expected(rows: Iterable[Row]) -> dict[Key, Row]:
    """What the matrix promises."""
    wheels = {}
    for row in rows:
        for python in row.pythons:
            tag = python if python == ANY_PYTHON else f"cp{python.replace('.', '')}"
            wheels[row.distribution, tag, row.arch] = row
    return wheels


def _tag(tag: str | None, version: str) -> Iterator[str]:
    if tag is not None and tag != f"v{version}":
        yield f"the tag is {tag!r}, and the version {version}: the tag must be 'v{version}'"


def _changelog(path: Path, version: str) -> Iterator[str]:
    """``## 0.2.0 - 2026-12-01``, as in Keep a Changelog; brackets around the version are allowed."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    heading = re.search(rf"^## \[?{re.escape(version)}\]?(?P<rest>.*)$", text, re.MULTILINE)
    if heading is None:
        yield f"{path.name} has no heading for {version}. Write: ## {version} - {datetime.date.today()}"
        return
    date = re.fullmatch(r" - (\d{4}-\d{2}-\d{2})", heading["rest"].rstrip())
    try:
        datetime.date.fromisoformat(date[1] if date else "")
    except ValueError:
        yield f"{path.name} gives {version} no date. Write: ## {version} - {datetime.date.today()}"


def _sdist(folder: Path, version: str) -> Iterator[str]:
    found = sorted(folder.glob("*.tar.gz"))
    if not found:
        yield f"the source distribution is missing: {CORE}-{version}.tar.gz"
    for path in found:
        try:
            name, own = parse_sdist_filename(path.name)
        except InvalidSdistFilename:
            yield f"{path.name} is no source distribution of {CORE}"
            continue
        if (name, str(own)) != (CORE, version):
            yield f"{path.name} is {name} {own}; this release is {CORE} {version}"
            continue
        try:
            with tarfile.open(path) as tar:
                info = tar.extractfile(f"{CORE}-{version}/PKG-INFO")
                text = info.read().decode("utf-8", "replace") if info else ""
        except (tarfile.TarError, OSError, KeyError) as error:
            yield f"{path.name} cannot be read: {error}"
            continue
        if not re.search(rf"^Version: {re.escape(version)}$", text, re.MULTILINE):
            yield f"{path.name}: its PKG-INFO has another version than its name"


def _wheels(folder: Path, rows: list[Row], version: str) -> Iterator[str]:
    promised = expected(rows)
    there: dict[Key, Path] = {}
    pins: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".tar.gz"):
            continue
        try:
            name, own, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            yield f"{path.name} does not belong to a release. Remove it"
            continue
        keys = {(str(name), tag.interpreter, _architecture(tag.platform)) for tag in tags}
        known = keys & promised.keys()
        if not known:
            yield f"{path.name} is no wheel of the matrix. Remove it, or add its row to ci/matrix.toml"
            continue
        for key in known:
            if key in there:
                yield f"{path.name} and {there[key].name} are for the same: remove one"
            there[key] = path
        if str(own) != version:
            yield f"{path.name} is of version {own}; this release is {version}"
        yield from _wheel(path, promised[next(iter(known))], pins)
    for key, row in promised.items():
        if key not in there:
            yield f"row {row.name!r}: the wheel of {key[0]} for {key[1]} on {key[2]} is missing"
    if len(pins) > 1:
        lists = "; ".join(f"{pin[:12]}: {', '.join(names)}" for pin, names in pins.items())
        yield f"the wheels are of different builds of llama.cpp, by pin and tree: {lists}"


def _wheel(path: Path, row: Row, pins: dict[str, list[str]]) -> Iterator[str]:
    try:
        wheel = contents.Wheel(path)
        wrong = contents.problems(row, wheel)
    except contents.UNREADABLE as error:
        yield f"{path.name} cannot be read: {error}"
        return
    yield from (f"{path.name}: {sentence}" for sentence in wrong)
    platforms = sorted({tag.platform for tag in wheel.tags})
    if not any(platform.startswith(f"{row.policy}_") for platform in platforms):
        yield f"{path.name}: it is for {', '.join(platforms)}; the row promises {row.policy}"
    if wheel.record is not None and "pin" in wheel.record:
        key = f"{wheel.record['pin']} {wheel.record.get('tree_digest', '')}"
        pins.setdefault(key, []).append(path.name)


def _architecture(platform: str) -> str:
    return next((arch for arch in ("x86_64", "aarch64") if platform.endswith(f"_{arch}")), platform)
