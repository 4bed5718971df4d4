"""A model: weights and vocabulary of one GGUF file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ._check import INT32_MAX, integer, token_ids, utf8
from ._closing import Closing
from ._native import _core
from .engine import load_engine
from .errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Model"]


class Model(Closing):
    """A loaded GGUF model. Any thread may use it, and many sessions may share it.

    Loads the default engine if this process has loaded none yet.

    Args:
        path: the ``.gguf`` file (the first one, of a split model).
        vocab_only: load the vocabulary alone: tokenising works, running does not.
        check_tensors: look for invalid values in the weights while loading.
        use_extra_bufts: let the engine rearrange weights for faster kernels (costs memory and load time).
        n_gpu_layers: layers to put on a GPU, -1 for all; without a GPU backend it has no effect.
        load_mode: ``auto``, ``none``, ``mmap``, ``mlock``, ``mmap+mlock`` or ``dio``.
        rpc: addresses ``host:port`` of RPC servers (``llamasmith rpc-server``) that take a part of the layers, in the
            order of the layers; GPUs of this machine come after them.
        progress: called with the fraction loaded, 0.0 to 1.0; an exception from it stops the loading.

    Raises ModelNotFound, InvalidModel, InvalidOption, EngineError, or RpcError.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        vocab_only: bool = False,
        check_tensors: bool = False,
        use_extra_bufts: bool = True,
        n_gpu_layers: int = -1,
        load_mode: str = "auto",
        rpc: str | Sequence[str] = (),
        progress: Callable[[float], None] | None = None,
    ) -> None:
        load_engine()
        if "\0" in os.fspath(path):
            raise InvalidOption("The path holds a NUL character, which no file name has.")
        self.path = Path(path)
        servers: list[str] = []
        if rpc:
            from .rpc import endpoints, load_rpc

            servers = endpoints(rpc)
            load_rpc()
        self._native = _core.Model(
            os.fspath(path),
            vocab_only=vocab_only,
            check_tensors=check_tensors,
            use_extra_bufts=use_extra_bufts,
            n_gpu_layers=integer("n_gpu_layers", n_gpu_layers, -1, INT32_MAX, " (-1 for all)"),
            load_mode=load_mode,
            rpc=servers,
            progress=progress,
        )

    def tokenize(self, text: str | bytes, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text.

        Args:
            text: ``str``, or ``bytes`` in UTF-8.
            add_special: add the begin and end tokens that the model is used to.
            parse_special: take the text of a control token (``<|im_start|>``) for that token. Not for text from
                strangers.
        """
        return self._native.tokenize(utf8(text, "text"), add_special=add_special, parse_special=parse_special)

    def detokenize(self, tokens: Sequence[int], *, remove_special: bool = False, unparse_special: bool = False) -> str:
        """The text of token ids; bytes that are not UTF-8 (half a character) become U+FFFD.

        Args:
            tokens: ids, each in ``range(n_vocab)``.
            remove_special: leave out begin and end tokens.
            unparse_special: write control tokens as their text.
        """
        raw = self._native.detokenize(token_ids(tokens), remove_special=remove_special, unparse_special=unparse_special)
        return raw.decode("utf-8", "replace")

    @property
    def desc(self) -> str:
        """Architecture, size and type in a few words, as llama.cpp has them."""
        return self._native.desc

    @property
    def n_vocab(self) -> int:
        """Number of tokens in the vocabulary; the length of a logits array."""
        return self._native.n_vocab

    @property
    def n_ctx_train(self) -> int:
        """Context length that the model was trained with, in tokens."""
        return self._native.n_ctx_train

    @property
    def n_embd(self) -> int:
        """Width of the hidden state."""
        return self._native.n_embd

    @property
    def n_layer(self) -> int:
        """Number of layers."""
        return self._native.n_layer

    @property
    def n_params(self) -> int:
        """Number of weights."""
        return self._native.n_params

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return self._native.size

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that are read to generate one token: with tokens per second, the memory traffic.

        All of them, but of the embedding table one row where the output has a table of its own, and of experts those
        in use. Reads the headers of the model's files again. Raises ModelNotFound if they are gone.
        """
        return self._native.bytes_per_token()

    @property
    def token_bos(self) -> int:
        """The begin-of-text token, -1 if there is none."""
        return self._native.token_bos

    @property
    def token_eos(self) -> int:
        """The end-of-text token, -1 if there is none."""
        return self._native.token_eos

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata, values as text; arrays are left out."""
        return self._native.metadata

    def close(self) -> None:
        """Gives the weights back once no session uses them. A closed model raises SessionClosed when used."""
        self._native.close()

    def __repr__(self) -> str:
        state = "closed" if self._native.closed else self.desc
        return f"<llamasmith.Model {self.path.name}: {state}>"
