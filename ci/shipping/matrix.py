"""ci/matrix.toml: rows, read and checked. What is wrong is said with its row, what was given and what is allowed."""

from __future__ import annotations

import difflib
import platform
import re
import sys
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).resolve().parents[2]
MATRIX = ROOT / "ci" / "matrix.toml"

CORE = "llamasmith"
# Distribution -> the one backend that its wheel holds; None: the core, which may hold several.
DISTRIBUTIONS = {CORE: None, "llamasmith-openblas": "openblas", "llamasmith-cuda13": "cuda"}
ANY_PYTHON = "py3"
CUDA_WHEELS = (
    "nvidia-cuda-nvcc",
    "nvidia-cuda-crt",
    "nvidia-nvvm",
    "nvidia-cuda-runtime",
    "nvidia-cuda-cccl",
    "nvidia-cublas",
)
ALLOWED = {
    "distribution": tuple(DISTRIBUTIONS),
    "arch": ("x86_64", "aarch64", "any"),
    "cpu": ("native", "baseline", "dispatch"),
    "engines": ("patched", "patched-openmp", "upstream", "upstream-openmp"),
    "backends": ("cpu", "openblas", "cuda", "rpc"),
    "tests": ("import", "doctor", "generate", "backend", "explained"),
}


class MatrixError(Exception):
    """The matrix, or what was asked of it, is not right."""


@dataclass(frozen=True)
class Cuda:
    """A CUDA version, and the compute capabilities to compile for (``90`` is 9.0)."""

    major: int
    toolkit: str
    """The version of NVIDIA's wheels to build with, such as ``13.0``."""
    architectures: tuple[str, ...]

    @property
    def wheels(self) -> tuple[str, ...]:
        """The toolkit: all of one version, or it does not fit together."""
        return tuple(f"{name}=={self.toolkit}.*" for name in CUDA_WHEELS)


@dataclass(frozen=True)
class Row:
    """One kind of wheel. Without defaults: what each row has to say."""

    name: str
    distribution: str
    arch: str
    """``any``: that of the machine that builds."""
    pythons: tuple[str, ...]
    """``3.11``, or ``py3`` alone for a wheel without an extension module."""
    backends: tuple[str, ...]
    policy: str
    """auditwheel's policy in the container that releases are built in; elsewhere it says what it finds."""
    max_mb: float
    """The largest wheel that is still right, in millions of bytes."""
    tests: tuple[str, ...]
    cpu: str = ""
    engines: tuple[str, ...] = ()
    cuda: Cuda | None = None
    exclude: tuple[str, ...] = ()
    """Libraries that stay outside of the wheel: patterns of sonames."""
    companions: tuple[str, ...] = field(default=(), metadata={"key": "with"})
    """Rows whose wheels are installed beside this one before it is tested."""
    release: bool = True

    @property
    def core(self) -> bool:
        return self.distribution == CORE

    @property
    def folder(self) -> str:
        """The project to build, below the root of the sources."""
        return "." if self.core else f"wheels/{self.distribution.removeprefix('llamasmith-')}"

    @property
    def here(self) -> bool:
        """Whether this machine has the right architecture."""
        return self.arch in ("any", platform.machine())

    def definitions(self) -> dict[str, str]:
        """What CMake is told. The pyproject.toml of a backend wheel says itself which backend it holds."""
        given: dict[str, str] = {}
        if self.core:
            given["LLAMASMITH_CPU"] = self.cpu
            given["LLAMASMITH_ENGINES"] = ";".join(self.engines)
            given["LLAMASMITH_BACKENDS"] = ";".join(self.backends)
        if self.cuda is not None:
            given["LLAMASMITH_CUDA_ARCHITECTURES"] = ";".join(self.cuda.architectures)
        return given

    def settings(self) -> list[str]:
        """What the build backend is told, ``NAME=VALUE``: pip's ``-C``."""
        words = [f"cmake.define.{name}={value}" for name, value in self.definitions().items()]
        if self.cuda is not None:
            words.append(f"build.requires={';'.join(self.cuda.wheels)}")
        return words


_KEYS = {item.metadata.get("key", item.name): item for item in fields(Row)}
_LISTS = {key for key, item in _KEYS.items() if str(item.type).startswith("tuple")}


def load(path: Path = MATRIX) -> dict[str, Row]:
    """All rows by name, in order. Raises MatrixError."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MatrixError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(f"{path.name} is not TOML: {error}") from error
    _known("the file", data, ("defaults", "row"))
    if not data.get("row"):
        raise MatrixError(f"{path.name} has no row. Write at least one [[row]].")
    defaults = data.get("defaults", {})
    _known("[defaults]", defaults, _KEYS)
    rows: dict[str, Row] = {}
    for number, given in enumerate(data["row"], 1):
        row = _row(f"row {given.get('name', f'number {number}')!r}", {**defaults, **given})
        if row.name in rows:
            raise MatrixError(f"two rows are named {row.name!r}. Rename or remove one.")
        rows[row.name] = row
    for row in rows.values():
        _companions(row, rows)
    _same_wheel_once(rows.values())
    return rows


def choose(rows: Mapping[str, Row], names: Iterable[str]) -> list[Row]:
    """The rows of these names, each after those that it needs, in the matrix' order otherwise."""
    wanted: dict[str, None] = {}

    def want(name: str) -> None:
        if name not in rows:
            raise MatrixError(f"there is no row {name!r}.{_close(name, rows)} Rows: {', '.join(rows)}.")
        for companion in rows[name].companions:
            want(companion)
        wanted[name] = None

    for name in names:
        want(name)
    return [rows[name] for name in wanted]


def _close(word: str, words: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def _known(where: str, given: Mapping[str, Any], keys: Iterable[str]) -> None:
    for key in given:
        if key not in keys:
            raise MatrixError(f"{where}: unknown key {key!r}.{_close(key, keys)} Keys: {', '.join(keys)}.")


def _row(where: str, given: Mapping[str, Any]) -> Row:
    _known(where, given, _KEYS)
    for key, item in _KEYS.items():
        if item.default is MISSING and key not in given:
            raise MatrixError(f"{where}: the key {key!r} is missing.")
    values: dict[str, Any] = {}
    for key, value in given.items():
        values[_KEYS[key].name] = _value(where, key, value)
    row = Row(**values)
    _sense(where, row)
    return row


def _value(where: str, key: str, value: Any) -> Any:
    if key == "cuda":
        return _cuda(where, value)
    expected: tuple[type, ...] = (list,) if key in _LISTS else (bool,) if key == "release" else (str,)
    if key == "max_mb":
        expected = (int, float)
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        names = " or ".join(kind.__name__ for kind in expected)
        raise MatrixError(f"{where}: {key} is {value!r}. It must be of type {names}.")
    words: list[Any] = value if isinstance(value, list) else [value]
    for word in words:
        if key in _LISTS and not isinstance(word, str):
            raise MatrixError(f"{where}: {key} has {word!r}. It must hold strings alone.")
        if key in ALLOWED and word not in ALLOWED[key]:
            allowed = ", ".join(ALLOWED[key])
            raise MatrixError(f"{where}: {key} is or has {word!r}.{_close(word, ALLOWED[key])} Allowed: {allowed}.")
    if isinstance(value, list):
        if len(set(value)) != len(value):
            raise MatrixError(f"{where}: {key} names something twice: {', '.join(value)}.")
        return tuple(value)
    return value


def _cuda(where: str, value: Any) -> Cuda:
    if not isinstance(value, dict):
        raise MatrixError(f"{where}: cuda is {value!r}. It must be a table with major, toolkit and architectures.")
    _known(f"{where}, cuda", value, ("major", "toolkit", "architectures"))
    major, toolkit, architectures = (value.get(key) for key in ("major", "toolkit", "architectures"))
    if not isinstance(major, int) or isinstance(major, bool):
        raise MatrixError(f"{where}: cuda.major is {major!r}. It must be a number, such as 13.")
    if not isinstance(toolkit, str) or not re.fullmatch(rf"{major}\.\d+", toolkit):
        raise MatrixError(f"{where}: cuda.toolkit is {toolkit!r}. It must be a version of CUDA {major}: '{major}.0'.")
    if not isinstance(architectures, list) or not architectures:
        raise MatrixError(f"{where}: cuda.architectures is {architectures!r}. It must be a list, such as ['90'].")
    for one in architectures:
        if not isinstance(one, str) or not re.fullmatch(r"\d{2,3}[af]?(-real|-virtual)?", one):
            raise MatrixError(f"{where}: cuda.architectures has {one!r}. Allowed: '90', '120a', '75-virtual', ...")
    return Cuda(major, toolkit, tuple(architectures))


def _sense(where: str, row: Row) -> None:
    """What no key shows alone."""
    if row.max_mb <= 0:
        raise MatrixError(f"{where}: max_mb is {row.max_mb}. It must be more than 0.")
    if not row.backends:
        raise MatrixError(f"{where}: backends is empty. Allowed: {', '.join(ALLOWED['backends'])}.")
    pythons = row.pythons
    if row.core:
        if not row.cpu or not row.engines or "cpu" not in row.backends:
            raise MatrixError(f"{where}: a wheel of {CORE} needs cpu, engines, and cpu among its backends.")
        wrong = [python for python in pythons if not re.fullmatch(r"3\.\d+", python)]
        if wrong or not pythons:
            raise MatrixError(f"{where}: pythons is {list(pythons)}. It must name versions, such as '3.11'.")
        if row.cpu == "native" and row.release:
            raise MatrixError(f"{where}: cpu is 'native', which runs on no other machine: set release = false.")
    else:
        own = DISTRIBUTIONS[row.distribution]
        if row.backends != (own,):
            raise MatrixError(f"{where}: backends is {list(row.backends)}; {row.distribution} holds {own!r} alone.")
        if row.cpu or row.engines:
            raise MatrixError(f"{where}: cpu and engines belong to rows of {CORE}.")
        if pythons != (ANY_PYTHON,):
            raise MatrixError(f"{where}: pythons is {list(pythons)}. A backend is for all: [{ANY_PYTHON!r}].")
        if "libggml-base.so" not in row.exclude:
            raise MatrixError(f"{where}: exclude lacks 'libggml-base.so', which the core has.")
    if ("cuda" in row.backends) != (row.cuda is not None):
        raise MatrixError(f"{where}: the backend cuda and the table cuda go together.")
    digits = re.search(r"\d+$", row.distribution)
    if row.cuda is not None and digits is not None and int(digits[0]) != row.cuda.major:
        raise MatrixError(f"{where}: cuda.major is {row.cuda.major}, but the distribution is {row.distribution}.")


def _companions(row: Row, rows: Mapping[str, Row]) -> None:
    for name in row.companions:
        if name not in rows:
            raise MatrixError(f"row {row.name!r}: with names {name!r}, which is no row.{_close(name, rows)}")
        if not rows[name].core or rows[name].arch != row.arch:
            raise MatrixError(f"row {row.name!r}: with names {name!r}, which is no row of {CORE} for {row.arch}.")
    if row.core and row.companions:
        raise MatrixError(f"row {row.name!r}: a row of {CORE} needs no other: remove with.")
    if not row.core and not row.companions:
        raise MatrixError(f"row {row.name!r}: with is empty. Name the row of {CORE} that it is tested with.")


def _same_wheel_once(rows: Iterable[Row]) -> None:
    """Two rows that are released must not make files of one name."""
    seen: dict[tuple[str, str, str], str] = {}
    for row in rows:
        for python in row.pythons if row.release else ():
            key = (row.distribution, row.arch, python)
            if key in seen:
                raise MatrixError(
                    f"the rows {seen[key]!r} and {row.name!r} both release {row.distribution} for {row.arch} and "
                    f"Python {python}. Set release = false in one."
                )
            seen[key] = row.name
