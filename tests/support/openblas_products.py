"""Run by test_openblas.py: products by the backend openblas, against float64. One JSON object in, one out."""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

import numpy as np

import llamasmith
from llamasmith.build import package_root

LIB = package_root() / "lib"
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q5_0": 6, "q8_0": 8, "q4_K": 12, "q6_K": 14, "bf16": 30}  # enum ggml_type


class Init(ctypes.Structure):
    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


base = ctypes.CDLL(str(LIB / "libggml-base.so"))
registry = ctypes.CDLL(str(LIB / "libggml.so"))


def function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    found = getattr(library, name)
    found.restype, found.argtypes = result, arguments
    return found


load = function(registry, "ggml_backend_load", c_void_p, c_char_p)
dev_get = function(base, "ggml_backend_reg_dev_get", c_void_p, c_void_p, c_size_t)
dev_init = function(base, "ggml_backend_dev_init", c_void_p, c_void_p, c_char_p)
proc = function(base, "ggml_backend_reg_get_proc_address", c_void_p, c_void_p, c_char_p)
supports = function(base, "ggml_backend_supports_op", c_bool, c_void_p, c_void_p)
compute = function(base, "ggml_backend_graph_compute", c_int, c_void_p, c_void_p)
free_backend = function(base, "ggml_backend_free", None, c_void_p)
init = function(base, "ggml_init", c_void_p, Init)
free = function(base, "ggml_free", None, c_void_p)
new = function(base, "ggml_new_tensor_4d", c_void_p, c_void_p, c_int, c_int64, c_int64, c_int64, c_int64)
view = function(base, "ggml_view_2d", c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_size_t, c_size_t)
mul_mat = function(base, "ggml_mul_mat", c_void_p, c_void_p, c_void_p, c_void_p)
new_graph = function(base, "ggml_new_graph", c_void_p, c_void_p)
expand = function(base, "ggml_build_forward_expand", None, c_void_p, c_void_p)
data = function(base, "ggml_get_data", c_void_p, c_void_p)
nbytes = function(base, "ggml_nbytes", c_size_t, c_void_p)
row_size = function(base, "ggml_row_size", c_size_t, c_int, c_int64)
quantize = function(
    base, "ggml_quantize_chunk", c_size_t, c_int, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p
)
Log = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
log_set = function(base, "ggml_log_set", None, Log, c_void_p)
ToFloat = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_int64)


class Traits(ctypes.Structure):
    _fields_ = (
        ("type_name", c_char_p),
        ("blck_size", c_int64),
        ("blck_size_interleave", c_int64),
        ("type_size", c_size_t),
        ("is_quantized", c_bool),
        ("to_float", c_void_p),
    )


traits = function(base, "ggml_get_type_traits", POINTER(Traits), c_int)


def context(mebibytes: int = 64) -> int:
    return int(init(Init(mebibytes << 20, None, False)))


def fill(tensor: int, values: np.ndarray) -> None:
    ctypes.memmove(data(tensor), values.ctypes.data, values.nbytes)


def weights(ctx: int, kind: str, values: np.ndarray) -> tuple[int, np.ndarray]:
    """The tensor, and what its numbers are after quantisation, by ggml's own conversion."""
    tensor = new(ctx, TYPES[kind], *reversed(values.shape))
    if kind == "f32":
        fill(tensor, values)
        return tensor, values
    rows, length = values.size // values.shape[-1], values.shape[-1]
    quantize(TYPES[kind], values.ctypes.data, data(tensor), 0, rows, length, None)
    back = np.empty_like(values)
    to_float = ToFloat(traits(TYPES[kind]).contents.to_float)
    for row in range(rows):
        at = data(tensor) + row * row_size(TYPES[kind], length)
        to_float(at, back.ctypes.data + row * length * 4, length)
    return tensor, back


def product(blas: int, kind: str, shape: list[int], run: bool, seed: int = 1) -> dict[str, Any]:
    ne0, rows, batch, a2, a3, b2, b3 = shape
    random = np.random.default_rng(seed)
    ctx = context()
    if not run:
        op = mul_mat(ctx, new(ctx, TYPES[kind], ne0, rows, a2, a3), new(ctx, 0, ne0, batch, b2, b3))
        answer: dict[str, Any] = {"type": kind, "shape": shape, "taken": supports(blas, op)}
        free(ctx)
        return answer
    a, exact = weights(ctx, kind, random.standard_normal((a3, a2, rows, ne0)).astype(np.float32))
    x = random.standard_normal((b3, b2, batch, ne0)).astype(np.float32)
    b = new(ctx, 0, ne0, batch, b2, b3)
    fill(b, x)
    op = mul_mat(ctx, a, b)
    taken = supports(blas, op)
    result = np.full((b3, b2, batch, rows), np.nan, np.float32)
    fill(op, result)  # what nobody writes is seen
    graph = new_graph(ctx)
    expand(graph, op)
    assert compute(blas, graph) == 0
    assert nbytes(op) == result.nbytes
    ctypes.memmove(result.ctypes.data, data(op), result.nbytes)
    wide = exact.astype(np.float64).repeat(b2 // a2, axis=1).repeat(b3 // a3, axis=0)
    right = x.astype(np.float64) @ wide.swapaxes(-1, -2)
    error = float(np.abs(result - right).max() / np.sqrt((right**2).mean()))
    free(ctx)
    return {"type": kind, "shape": shape, "taken": taken, "error": error if np.isfinite(error) else 1e9}


def strided(blas: int) -> list[dict[str, Any]]:
    """Weights, then activations, that are a part of a wider matrix."""
    ctx = context()
    wide, whole = new(ctx, 0, 512, 64, 1, 1), new(ctx, 0, 256, 64, 1, 1)
    part = view(ctx, wide, 256, 64, 512 * 4, 0)
    answers = [{"taken": supports(blas, mul_mat(ctx, *pair))} for pair in ((part, whole), (whole, part))]
    free(ctx)
    return answers


def ours(path: str) -> list[dict[str, Any]]:
    """Whether our code computes a product, so that upstream's, which is called where it does not, is not needed."""
    mul_mat_of_ours = function(ctypes.CDLL(path), "_Z18smith_blas_mul_matP11ggml_tensori", c_bool, c_void_p, c_int)
    ctx = context()
    op = mul_mat(ctx, new(ctx, TYPES["f16"], 256, 97, 1, 1), new(ctx, 0, 256, 33, 1, 1))
    answer = mul_mat_of_ours(op, 2)
    free(ctx)
    return [{"ours": answer}]


def main() -> None:
    given = json.loads(sys.argv[1])
    engine = llamasmith.load_engine(given["engine"])
    said: list[str] = []
    # The package's own would keep the lines for Python's logging.
    listener = Log(lambda level, text, data: said.append(text.decode()))
    log_set(listener, None)
    module = load(given["module"].encode())
    assert module, given["module"]
    set_n_threads = ctypes.CFUNCTYPE(None, c_void_p, c_int)(proc(module, b"ggml_backend_set_n_threads"))
    answers: list[dict[str, Any]] = []

    def call(seed: int) -> None:
        blas = dev_init(dev_get(module, 0), None)
        set_n_threads(blas, given.get("threads", 2))
        run = given["what"] == "products"
        for _ in range(given.get("repeats", 1)):
            for kind in given["types"]:
                answers.extend(product(blas, kind, shape, run, seed) for shape in given["shapes"])
        free_backend(blas)

    if given["what"] == "strided":
        answers = strided(dev_init(dev_get(module, 0), None))
    elif given["what"] == "ours":
        answers = ours(given["module"])
    else:
        callers = [threading.Thread(target=call, args=(seed,)) for seed in range(given.get("callers", 1))]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    log_set(Log(), None)
    print(json.dumps({"products": answers, "features": engine.features, "said": "".join(said)}))


if __name__ == "__main__":
    main()
