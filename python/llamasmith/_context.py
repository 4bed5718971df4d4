"""A native context with the pools that compute for it, and those who share it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ._check import INT32_MAX, integer, known_names, number
from ._native import _core
from .errors import InvalidOption
from .options import ContextOptions
from .pool import ThreadPool, thread_count, warn_of_too_many
from .threads import thread_budget

if TYPE_CHECKING:
    from .model import Model

__all__ = ["DEFAULT_MAX_CTX", "MAX_BATCH", "SharedContext", "default_ctx"]

# What a context costs grows with n_ctx: unless asked for, we take no more than this many tokens.
DEFAULT_MAX_CTX = 4096
# Ours: larger batches only cost memory.
MAX_BATCH = 65536


def default_ctx(model: Model) -> int:
    """The model's training length, within reason."""
    return min(model.n_ctx_train, DEFAULT_MAX_CTX) if model.n_ctx_train > 0 else DEFAULT_MAX_CTX


class SharedContext:
    """What the sessions of one context share. The last of them to leave closes it. Raises InvalidOption."""

    def __init__(
        self,
        model: Model,
        options: ContextOptions,
        what: str,
        *,
        n_ctx: int,
        n_seq_max: int = 1,
        n_outputs_max: int = 1,
        kv_unified: bool = False,
        embeddings: bool = False,
        pooling_type: str = "unspecified",
    ) -> None:
        known_names(options, ContextOptions.__annotations__, f"a {what}")
        self._make_pools(options)
        self._users = 1
        self._counting = threading.Lock()
        self.native = _core.Context(
            model._native,
            pool=None if self.pool is None else self.pool._native,
            pool_batch=None if self.pool_batch is None else self.pool_batch._native,
            n_threads=self.n_threads,
            n_threads_batch=self.n_threads_batch,
            n_ctx=integer("n_ctx", n_ctx, 0, INT32_MAX),
            n_seq_max=n_seq_max,
            n_outputs_max=integer("n_outputs_max", n_outputs_max, 1, MAX_BATCH),
            kv_unified=kv_unified,
            embeddings=embeddings,
            pooling_type=pooling_type,
            n_batch=integer("n_batch", options.get("n_batch", 2048), 1, MAX_BATCH),
            n_ubatch=integer("n_ubatch", options.get("n_ubatch", 512), 1, MAX_BATCH),
            flash_attn=options.get("flash_attn", "auto"),
            type_k=options.get("type_k", "f16"),
            type_v=options.get("type_v", "f16"),
            offload_kqv=options.get("offload_kqv", True),
            op_offload=options.get("op_offload", True),
            swa_full=options.get("swa_full", True),
            n_rs_seq=integer("n_rs_seq", options.get("n_rs_seq", 0), 0, 64),
            attention_type=options.get("attention_type", "unspecified"),
            rope_scaling_type=options.get("rope_scaling_type", "unspecified"),
            rope_freq_base=number("rope_freq_base", options.get("rope_freq_base", 0.0)),
            rope_freq_scale=number("rope_freq_scale", options.get("rope_freq_scale", 0.0)),
            yarn_ext_factor=number("yarn_ext_factor", options.get("yarn_ext_factor", -1.0)),
            yarn_attn_factor=number("yarn_attn_factor", options.get("yarn_attn_factor", -1.0)),
            yarn_beta_fast=number("yarn_beta_fast", options.get("yarn_beta_fast", -1.0)),
            yarn_beta_slow=number("yarn_beta_slow", options.get("yarn_beta_slow", -1.0)),
            yarn_orig_ctx=integer("yarn_orig_ctx", options.get("yarn_orig_ctx", 0), 0, INT32_MAX),
            no_perf=options.get("no_perf", True),
        )

    def _make_pools(self, options: ContextOptions) -> None:
        n_threads, n_threads_batch = options.get("n_threads"), options.get("n_threads_batch")
        wait, pool = options.get("wait"), options.get("pool")
        disposable = options.get("disposable_pool", False)
        if pool is not None and (n_threads is not None or n_threads_batch is not None or wait is not None):
            raise InvalidOption("Give either pool, or n_threads, n_threads_batch and wait; the pool has its own.")
        if disposable and (pool is not None or wait is not None):
            raise InvalidOption("disposable_pool=True means threads without a pool: leave out pool and wait.")
        self.n_threads = thread_count(n_threads) if pool is None else pool.n_threads
        self.n_threads_batch = (
            self.n_threads if n_threads_batch is None else thread_count(n_threads_batch, "n_threads_batch")
        )
        self.pool = pool
        self._own_pools = pool is None
        if disposable:
            warn_of_too_many(max(self.n_threads, self.n_threads_batch), thread_budget())
        elif pool is None:
            self.pool = ThreadPool(self.n_threads, wait=wait)
        self.pool_batch = self.pool
        if self.pool is not None and self.n_threads_batch != self.n_threads:
            self.pool_batch = ThreadPool(self.n_threads_batch, wait=wait)

    def join(self) -> None:
        """One more session uses it."""
        with self._counting:
            self._users += 1

    def leave(self) -> None:
        """One session less; closed with the last one, and its own pools too."""
        with self._counting:
            self._users -= 1
            last = self._users == 0
        if last:
            self.close()

    def close(self) -> None:
        """Frees the context and its own pools. Closing twice is allowed."""
        if not self.native.closed:  # one that has lost its RPC server has closed itself
            self.native.close()
        for pool in (self.pool, self.pool_batch) if self._own_pools else ():
            if pool is not None:
                pool.close()
