"""Hugging Face transformers, on the CPU."""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..foreign import check_options, check_sessions, need
from ..subject import PROMPT, Subject
from ..tokens import random_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TransformersSubject"]

_NAME = "transformers"
_NO_LIMIT = float("inf")


class TransformersSubject(Subject):
    """The same GGUF by `AutoModelForCausalLM`, which turns its weights into 32-bit floats. `packages` gives a module.

    ``pp`` is one call of the model on all tokens, logits of the last one alone, with a fresh cache of keys and values.
    ``tg`` is `model.generate()` without sampling, from the first token that it chooses to the last; the end of the text
    is never chosen. Attention is the library's default (`attention` among the facts).
    """

    def __init__(
        self,
        packages: Callable[[str], Any] = lambda module: need(_NAME, module),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._packages = packages
        self._clock = clock
        self._torch: Any = None
        self._model: Any = None
        self._prompt: list[int] = []
        self._n_vocab = 0
        self._last_logits: dict[str, int] = {}

    def load(
        self, *, engine: str, model: str, model_options: dict[str, Any], session_options: dict[str, Any], sessions: int
    ) -> dict[str, Any]:
        check_sessions(_NAME, sessions)
        check_options(_NAME, model_options | session_options)
        # Both are read when the libraries are imported: the model is a file, and nobody watches the progress.
        os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
        library, self._torch = self._packages("transformers"), self._packages("torch")
        for module in ("gguf", "accelerate"):  # it needs them for a GGUF, and would find out in the midst of loading
            self._packages(module)
        library.logging.set_verbosity_error()
        if "n_threads" in session_options:
            self._torch.set_num_threads(session_options["n_threads"])
        folder, file = str(Path(model).parent), Path(model).name
        self._model = library.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=self._torch.float32)
        tokenizer = library.AutoTokenizer.from_pretrained(folder, gguf_file=file)
        self._prompt = [int(token) for token in tokenizer(PROMPT).input_ids]
        self._n_vocab = int(self._model.get_input_embeddings().num_embeddings)
        if "logits_to_keep" in inspect.signature(self._model.forward).parameters:
            self._last_logits = {"logits_to_keep": 1}
        return {
            "library": _NAME,
            "version": library.__version__,
            "torch": self._torch.__version__,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "attention": getattr(self._model.config, "_attn_implementation", None),
            "n_threads": self._torch.get_num_threads(),
            "n_vocab": self._n_vocab,
        }

    def prompt(self, n: int, seed: int) -> float:
        ids = self._ids(random_tokens(n, seed, self._n_vocab))
        with self._torch.inference_mode():
            begin = self._clock()
            self._model(input_ids=ids, use_cache=True, **self._last_logits)
            return self._clock() - begin

    def generate(self, n: int) -> float:
        return self.generate_within(n, _NO_LIMIT)[1]

    def generate_within(self, n: int, limit_seconds: float) -> tuple[int, float]:
        watch = _Watch(self._torch, self._clock, limit_seconds, least=2)  # one token that the prompt has not paid for
        self._generate(self._prompt, n + 1, watch)
        return len(watch.times) - 1, watch.times[-1] - watch.times[0]

    def first_token(self, n: int, seed: int) -> float:
        tokens, watch = random_tokens(n, seed, self._n_vocab), _Watch(self._torch, self._clock, _NO_LIMIT)
        begin = self._clock()
        self._generate(tokens, 1, watch)
        return watch.times[0] - begin

    def outputs(self, n: int, limit_seconds: float) -> dict[str, Any]:
        return {"tokens": self._generate(self._prompt, n, _Watch(self._torch, self._clock, limit_seconds))}

    def _generate(self, tokens: list[int], n: int, watch: _Watch) -> list[int]:
        """`n` greedy tokens, never the one that ends the text, or fewer where `watch` stops it."""
        ids = self._ids(tokens)
        with self._torch.inference_mode():
            found = self._model.generate(
                input_ids=ids,
                attention_mask=self._torch.ones_like(ids),
                max_new_tokens=n,
                min_new_tokens=n,
                do_sample=False,
                use_cache=True,
                stopping_criteria=[watch],
            )
        return [int(token) for token in found[0][len(tokens) :]]

    def _ids(self, tokens: list[int]) -> Any:
        return self._torch.tensor([tokens])


class _Watch:
    """Called after every token: notes the time, and stops once `limit_seconds` are over since the first one."""

    def __init__(self, torch: Any, clock: Callable[[], float], limit_seconds: float, least: int = 1) -> None:
        self._torch = torch
        self._clock = clock
        self._limit_seconds = limit_seconds
        self._least = least
        self.times: list[float] = []

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        self.times.append(self._clock())
        over = len(self.times) >= self._least and self.times[-1] - self.times[0] >= self._limit_seconds
        return self._torch.full((len(input_ids),), over, dtype=self._torch.bool)
