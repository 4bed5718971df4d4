"""Models from the Hugging Face hub, ``hf:ORG/REPO:FILE``, by the optional package huggingface_hub."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import HubError, MissingDependency, ModelNotFound
from .huge_pages import forget

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fetch", "find"]


def _parts(spec: str) -> tuple[str, str]:
    match = re.fullmatch(r"hf:([^/:]+/[^/:]+):([^:]+)", spec)
    if match is None:
        raise ModelNotFound(f"{spec!r} does not have the form hf:ORG/REPO:FILE, as in hf:ORG/REPO:model.Q4_K_M.gguf")
    return match[1], match[2]


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependency(
            "Models from the Hugging Face hub need huggingface_hub; install it: pip install 'llamasmith[hub]'"
        ) from error
    return huggingface_hub


def find(spec: str, *, cache: Path | None) -> Path:
    """The file of a spec, if it has been fetched. Raises ModelNotFound."""
    repo, file = _parts(spec)
    try:
        found = _hub().try_to_load_from_cache(repo, file, cache_dir=cache)
    except ValueError as error:  # not a name that a repository may have
        raise ModelNotFound(f"{spec}: {error}") from error
    if not isinstance(found, str):
        raise ModelNotFound(f"The model {spec} is not on this machine yet; run: llamasmith pull {spec}")
    return Path(found)


def fetch(spec: str, tell: Callable[[str, int, int], None], *, cache: Path | None, force: bool) -> Path:
    """Fetches the file of a spec; ``HF_ENDPOINT``, ``HF_TOKEN`` and the like are huggingface_hub's to read."""
    repo, file = _parts(spec)
    hub = _hub()
    # Older ones cannot report progress.
    reports = "tqdm_class" in signature(hub.hf_hub_download).parameters
    more = {"tqdm_class": _bar(hub, tell)} if reports else {}
    tell("download", 0, 0)
    was_there = not force and _is_there(spec, cache)
    try:
        path = Path(hub.hf_hub_download(repo, file, cache_dir=cache, force_download=force, **more))
    except Exception as error:  # its own kinds, and those of whichever HTTP library it uses
        hint = {
            "GatedRepoError": " Accept its terms on the hub's web page, then log in: hf auth login",
            "RepositoryNotFoundError": " Check the name; for a private one log in: hf auth login",
            "LocalEntryNotFoundError": " Check the network and HF_ENDPOINT, HF_HUB_OFFLINE.",
        }.get(type(error).__name__, "")
        said = " ".join(str(error).split())
        raise HubError(f"Cannot fetch {spec}: {said or type(error).__name__}{hint}") from error
    if not was_there:
        forget(path)
    return path


def _is_there(spec: str, cache: Path | None) -> bool:
    try:
        return find(spec, cache=cache).is_file()
    except ModelNotFound:
        return False


def _bar(hub: Any, tell: Callable[[str, int, int], None]) -> type:
    """A progress bar class, as huggingface_hub wants one, that draws nothing and tells us."""
    base = hub.utils.tqdm

    def start(self: Any, *args: Any, **options: Any) -> None:
        base.__init__(self, *args, **{**options, "disable": True})

    def update(self: Any, n: float | None = 1) -> None:
        self.n += n or 0
        tell("download", int(self.n), int(self.total or 0))

    return type("Bar", (base,), {"__init__": start, "update": update})
