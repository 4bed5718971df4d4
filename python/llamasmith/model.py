"""A model: weights and vocabulary of one GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._check import INT32_MAX, file_path, integer, meta_values, names, number, token_ids, utf8
from ._closing import Closing
from ._native import _core
from .engine import load_engine
from .errors import InvalidOption

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from .chat import ChatTemplate, Message

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
        split_mode: how several GPUs share the model: ``none`` (one has all), ``layer``, ``row`` or ``tensor``.
        main_gpu: the one that has all under ``split_mode="none"``, counted from 0; -1 for none.
        tensor_split: the share of each GPU, in any unit; by default by their free memory.
        devices: names of the devices to use, of `devices()`; by default all. An empty list is the CPU alone.
        placement: where tensors lie whose names a regular expression matches: ``{regex: device or buffer type}``, such
            as ``{"ffn_.*_exps": "CPU"}``. The first that matches counts.
        kv_overrides: metadata values in place of the file's: ``{key: bool, int, float or str}``. One whose kind is not
            the key's is left out, with a warning in the log.
        load_mode: ``auto``, ``none``, ``mmap``, ``mlock``, ``mmap+mlock`` or ``dio``.
        lazy_mode: read rows of very large tables when they are needed: ``off``, ``auto`` or ``on``.
        no_host: leave out the memory that devices share with the host, so that other buffer types get the tensors.
        no_alloc: metadata alone, with sizes but without memory, to ask what a model would take
            (`Session.memory_breakdown()`); nothing can be evaluated.
        load_mtp: load the layers that predict several tokens, where the model has them.
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
        split_mode: str = "layer",
        main_gpu: int = 0,
        tensor_split: Sequence[float] = (),
        devices: Sequence[str] | None = None,
        placement: Mapping[str, str] | None = None,
        kv_overrides: Mapping[str, bool | int | float | str] | None = None,
        load_mode: str = "auto",
        lazy_mode: str = "auto",
        no_host: bool = False,
        no_alloc: bool = False,
        load_mtp: bool = True,
        rpc: str | Sequence[str] = (),
        progress: Callable[[float], None] | None = None,
    ) -> None:
        load_engine()
        text = file_path(path)
        self.path = Path(path)
        self._templates: dict[str | None, ChatTemplate] = {}
        servers: list[str] = []
        if rpc:
            from .rpc import endpoints, load_rpc

            servers = endpoints(rpc)
            load_rpc()
        self._native = _core.Model(
            text,
            vocab_only=vocab_only,
            check_tensors=check_tensors,
            use_extra_bufts=use_extra_bufts,
            no_host=no_host,
            no_alloc=no_alloc,
            load_mtp=load_mtp,
            n_gpu_layers=integer("n_gpu_layers", n_gpu_layers, -1, INT32_MAX, " (-1 for all)"),
            main_gpu=integer("main_gpu", main_gpu, -1, 15),
            split_mode=split_mode,
            load_mode=load_mode,
            lazy_mode=lazy_mode,
            tensor_split=[number("tensor_split", share) for share in tensor_split],
            devices=None if devices is None else names("devices", devices),
            placement=[(utf8(k, "pattern"), utf8(v, "place")) for k, v in (placement or {}).items()],
            kv_overrides=meta_values(kv_overrides or {}),
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
        return self._native.facts["n_ctx_train"]

    @property
    def n_embd(self) -> int:
        """Width of the hidden state."""
        return self._native.facts["n_embd"]

    @property
    def n_layer(self) -> int:
        """Number of layers."""
        return self._native.facts["n_layer"]

    @property
    def n_params(self) -> int:
        """Number of weights."""
        return self._native.facts["n_params"]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return self._native.facts["size"]

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that are read to generate one token: with tokens per second, the memory traffic.

        All of them, but of the embedding table one row where the output has a table of its own, and of experts those
        in use. Reads the headers of the model's files again. Raises ModelNotFound if they are gone.
        """
        return self._native.bytes_per_token()

    @property
    def facts(self) -> _core.ModelFacts:
        """All that the model tells of itself: sizes, kind of memory, devices, labels, recommended sampling."""
        return self._native.facts

    @property
    def vocab(self) -> _core.Vocab:
        """The vocabulary: special tokens, each token's text, bytes, score and attributes."""
        return _core.Vocab(self._native)

    def chat_template(self, name: str | None = None) -> str | None:
        """The model's chat template (jinja), by default the main one; None if there is none."""
        return self._native.chat_template(None if name is None else utf8(name, "name"))

    def chat_prompt(
        self,
        messages: Sequence[Message],
        *,
        template: str | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The text of a conversation, by the model's chat template: what `Session.chat()` has the model continue.

        Args:
            messages: ``{"role": "user", "content": "..."}`` and so on, in order.
            template: name of one of `chat_template_names`, by default the main one.
            add_generation_prompt: end with the beginning of the assistant's message.
            variables: what else the template knows: ``tools``, ``documents``, ``enable_thinking`` and so on.

        Raises InvalidOption (no such template, no messages), ChatTemplateError (it fails, or refuses the messages).
        """
        return self._template(template).render(messages, add_generation_prompt=add_generation_prompt, **variables)

    def chat_tokens(self, messages: Sequence[Message], **options: Any) -> list[int]:
        """The tokens of `chat_prompt()`, which takes the same arguments: with one begin token, whoever writes it."""
        text = self.chat_prompt(messages, **options)
        begin = self._special_text("bos")
        return self.tokenize(text, add_special=not (begin and text.startswith(begin)), parse_special=True)

    def _special_text(self, name: str) -> str:
        token = self.vocab.special.get(name, -1)
        return self.vocab.text(token) if token >= 0 else ""

    def _template(self, name: str | None) -> ChatTemplate:
        from .chat import ChatTemplate

        if name not in self._templates:
            source = self.chat_template(name)
            if source is None:
                have = ", ".join(repr(known) for known in self.chat_template_names) or "none"
                raise InvalidOption(
                    f"{self.path.name} has no chat template{f' named {name!r}' if name else ''}; it has: {have}. Take "
                    f"a model that was trained to chat, or make the prompt yourself: "
                    f"session.generate(ChatTemplate(text).render(messages))."
                )
            self._templates[name] = ChatTemplate(
                source, bos_token=self._special_text("bos"), eos_token=self._special_text("eos")
            )
        return self._templates[name]

    @property
    def chat_template_names(self) -> tuple[str, ...]:
        """Names of the chat templates in the file; "" is the main one."""
        return self._native.chat_template_names

    def token_embeddings(self) -> npt.NDArray[np.float32]:
        """The table of token embeddings: a new array of shape ``(n_vocab, n_embd)``. InvalidOption without weights."""
        return self._native.token_embeddings()

    def load_adapter(self, path: str | os.PathLike[str]) -> _core.LoraAdapter:
        """A LoRA adapter for this model (`Session.set_adapters()`), which it keeps loaded.

        Raises ModelNotFound, InvalidModel (no adapter, or one of another model).
        """
        return _core.LoraAdapter(self._native, file_path(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a GGUF file. It must have been loaded with ``use_extra_bufts=False``.

        Raises InvalidOption (weights rearranged or absent, the model's own file, an architecture that llama.cpp cannot
        save), ModelNotFound (the file cannot be written).
        """
        self._native.save(file_path(path))

    @property
    def token_bos(self) -> int:
        """The begin-of-text token, -1 if there is none."""
        return self.vocab.special.get("bos", -1)

    @property
    def token_eos(self) -> int:
        """The end-of-text token, -1 if there is none."""
        return self.vocab.special.get("eos", -1)

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
