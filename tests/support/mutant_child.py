"""Loads mutated files in a process that is expected to survive all of them: mutant_child.py KIND FIRST LAST FOLDER

KIND: vocab (without weights, then text to tokens and back), full (with weights, then a batch), arch (every
architecture, absurd numbers). Prints how many ended how. Before each file is loaded it lies in FOLDER, with its seed in
its name: where the process dies, or is killed for taking longer than a minute, the file that is there did it.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random

import gguf_mutants
import small_models
import small_vocabs

from llamasmith import Model, Session
from llamasmith.errors import InvalidModel, InvalidOption, LlamaError, NotEnoughMemory

MEMORY = 6 << 30  # bytes of address space; an engine's threads and stacks reserve some, and bombs want more
SECONDS = 60
TEXTS = ("hello world", "a  b\n\n\tabc !?… Ωé 漢字 🎉", "", " ", "<|endoftext|><s>abc")


def use_vocab(model: Model) -> None:
    """Text to tokens and back, as a program would do next."""
    for text in TEXTS:
        tokens = model.tokenize(text)
        if all(token >= 0 for token in tokens):
            model.detokenize(tokens)
    model.tokenize(TEXTS[1], add_special=False, parse_special=True)
    model.vocab.pieces(special=True)


def use_weights(model: Model) -> None:
    with Session(model, n_ctx=64, n_threads=1) as session:
        session.decode([1 % model.n_vocab, 5 % model.n_vocab])
        session.generate([1 % model.n_vocab], max_tokens=2, temperature=0)


def main(kind: str, first: int, last: int, folder: Path) -> None:
    logging.getLogger("llamasmith").setLevel(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    vocabs = list(small_vocabs.ALL.values())
    whole = small_models.llama()
    ends: Counter[str] = Counter()
    for seed in range(first, last):
        chance = Random(f"{kind} {seed}")
        if kind == "vocab":
            raw = gguf_mutants.mutant(chance, vocabs[seed % len(vocabs)])
        elif kind == "full":
            raw = small_models.mutant(chance, whole)
        else:
            raw = small_models.of_any_architecture(chance, whole).content()
        path = folder / f"{kind}-{seed}.gguf"
        path.write_bytes(raw)
        signal.alarm(SECONDS)
        try:
            with Model(path, vocab_only=kind == "vocab") as model:
                (use_vocab if kind == "vocab" else use_weights)(model)
            end = "loaded"
        except (InvalidModel, InvalidOption, NotEnoughMemory) as error:
            end = type(error).__name__
        except LlamaError as error:
            if kind == "vocab":
                raise
            end = type(error).__name__
        signal.alarm(0)
        ends[end] += 1
        path.unlink()
    print(json.dumps(ends))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
