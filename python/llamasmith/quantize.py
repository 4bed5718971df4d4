"""Writing a model anew with smaller weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._check import file_path, integer, meta_values, one_of, utf8
from ._native import _core
from .engine import load_engine
from .threads import thread_budget

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["Quantized", "quantize", "quantize_types", "read_imatrix"]

MAX_THREADS = 512  # ggml's


@dataclass(frozen=True)
class Quantized:
    """What quantising has made of a model's weights."""

    mib_before: float
    mib_after: float


def quantize_types() -> tuple[str, ...]:
    """Names of the types that `quantize()` knows, such as ``Q4_K_M``; ``COPY`` leaves tensors as they are."""
    return _core.quantize_types()


def read_imatrix(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[np.float32]]:
    """An importance matrix made by llama-imatrix (GGUF): for each weight the importance of its columns.

    Raises ModelNotFound or InvalidModel.
    """
    return _core.read_imatrix(file_path(path))


def quantize(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    type: str,
    *,
    n_threads: int | None = None,
    tensor_types: Mapping[str, str] | None = None,
    output_tensor_type: str | None = None,
    token_embedding_type: str | None = None,
    imatrix: Mapping[str, npt.NDArray[np.float32]] | None = None,
    kv_overrides: Mapping[str, bool | int | float | str] | None = None,
    prune_layers: Sequence[int] = (),
    allow_requantize: bool = False,
    quantize_output_tensor: bool = True,
    pure: bool = False,
    keep_split: bool = False,
    dry_run: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Quantized:
    """Writes the model at `src` to `dst` with weights of another type.

    `dst` appears when it is whole, in place of what was there; with `keep_split` it is the prefix of the parts.

    Args:
        type: one of `quantize_types()`.
        n_threads: by default what this process may really use.
        tensor_types: other types for tensors whose names a regular expression matches: ``{regex: ggml type}``, such as
            ``{"ffn_down": "q6_K"}``.
        output_tensor_type, token_embedding_type: ggml types of these two.
        imatrix: the importance of each weight's columns, see `read_imatrix()`; the smallest types need it.
        kv_overrides: metadata values to write.
        prune_layers: layers to leave out.
        allow_requantize: also from weights that are quantised already, which costs quality.
        quantize_output_tensor: also the output's.
        pure: one type for all, without the mixtures that most types are.
        keep_split: as many files as `src` has.
        dry_run: only say how large it would be.
        progress: called with the fraction done, 0.0 to 1.0; an exception from it stops the work.

    Raises InvalidOption (also where `dst` is `src`), InvalidModel, ModelNotFound.
    """
    load_engine()
    sizes = _core.quantize(
        file_path(src),
        file_path(dst),
        one_of("type", type, quantize_types()),
        imatrix=[(utf8(name, "name"), row) for name, row in (imatrix or {}).items()],
        progress=progress,
        n_threads=thread_budget().budget if n_threads is None else integer("n_threads", n_threads, 1, MAX_THREADS),
        tensor_types=[(utf8(k, "pattern"), utf8(v, "type")) for k, v in (tensor_types or {}).items()],
        output_tensor_type="" if output_tensor_type is None else output_tensor_type,
        token_embedding_type="" if token_embedding_type is None else token_embedding_type,
        kv_overrides=meta_values(kv_overrides or {}),
        prune_layers=[integer("prune_layers", layer, 0, 511) for layer in prune_layers],
        allow_requantize=allow_requantize,
        quantize_output_tensor=quantize_output_tensor,
        pure=pure,
        keep_split=keep_split,
        dry_run=dry_run,
    )
    return Quantized(*sizes)
