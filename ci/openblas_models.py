"""Models of each type of weights, made from one, for ci/openblas-bench: openblas_models.py FROM FOLDER TYPE...

Made by llama_model_quantize() of the installed libllama, so llama-quantize is not needed. A model that is quantised
already is taken too: how fast a type is does not depend on what the weights say. Prints the path of each.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path

import llamasmith
from llamasmith.build import package_root
from llamasmith.hub import resolve

TYPES = {"F32": 0, "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_K_M": 15, "Q8_0": 7}  # enum llama_ftype


class Params(ctypes.Structure):
    """struct llama_model_quantize_params of the pin."""

    _fields_ = (
        *((name, kind) for name, kind in (("nthread", c_int32), ("ftype", c_int), ("output", c_int), ("embd", c_int))),
        *((name, c_bool) for name in ("requantize", "quantize_output", "only_copy", "pure", "keep_split", "dry_run")),
        *((name, c_void_p) for name in ("imatrix", "kv_overrides", "tt_overrides", "prune_layers")),
        ("max_buf_size", c_size_t),
    )


def make(source: Path, target: Path, ftype: int) -> None:
    library = ctypes.CDLL(str(package_root() / "lib" / "libllama.so"))
    library.llama_model_quantize_default_params.restype = Params
    library.llama_model_quantize.argtypes = [c_char_p, c_char_p, POINTER(Params)]
    library.llama_model_quantize.restype = c_uint32
    params = library.llama_model_quantize_default_params()
    params.requantize, params.ftype = True, ftype
    partial = target.with_suffix(".part")
    if library.llama_model_quantize(bytes(source), bytes(partial), byref(params)) != 0:
        sys.exit(f"openblas_models.py: {source} could not be made {target.name}; the lines above say why.")
    partial.rename(target)


def main() -> None:
    source, folder, *types = sys.argv[1:]
    if unknown := [name for name in types if name not in TYPES]:
        sys.exit(f"openblas_models.py: no type {', '.join(unknown)}. Allowed: {', '.join(TYPES)}.")
    llamasmith.load_engine()
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    wide = path / "F32.gguf"
    if not wide.exists():
        make(Path(resolve(source)), wide, TYPES["F32"])
    for name in types:
        target = path / f"{name}.gguf"
        if not target.exists():
            make(wide, target, TYPES[name])
        print(target)


if __name__ == "__main__":
    main()
