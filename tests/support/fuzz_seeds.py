"""What fuzzing begins with: fuzz_seeds.py FOLDER writes vocabs/, and load/, text/ and grammar/ below corpus/."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import gguf_mutants
import small_models
import small_vocabs

TEXTS = (
    "hello world",
    "a  b\n\n\tabc !?… Ωé 漢字 🎉",
    "<|endoftext|><s>abc",
    "<dna>acgtNN</dna>",
    "1234567 12 it's",
    "!" * 40,
)
GRAMMARS = (
    'root ::= "yes" | "no"',
    'root ::= [a-z]+ (" " [a-z]+)*\n',
    'root ::= obj\nobj ::= "{" ws (pair ("," ws pair)*)? "}"\npair ::= str ":" ws val\nval ::= str | num | obj\n'
    'str ::= "\\"" [^"\\\\]* "\\""\nnum ::= "-"? [0-9]{1,15}\nws ::= [ \\t\\n]{0,3}  # spaces\n',
    'root ::= a a\na ::= b | "x"\nb ::= c?\nc ::= "y"{0,9}',
    'root ::= (("a"? "b"){0,5} .){2} <[5]> !<[6]>',
    'root ::= "\\x41\\u00e9\\U0001F600" [^\\]\\-a-z]',
    "a ::= b a\nb ::= |\nroot ::= a",
    "root ::= " + "(" * 30 + '"a"' + ")*" * 30,
)


def main(folder: Path) -> None:
    for name in ("vocabs", "corpus/load", "corpus/text", "corpus/grammar"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # Small ones: what a fuzzer changes should matter. "spm" comes first, and is the one of the grammars.
    sound = {name: file for name, file in small_vocabs.ALL.items() if name != "spm"}
    for place, (name, file) in enumerate([("spm", small_vocabs.spm()), *sound.items()]):
        (folder / "vocabs" / f"{place:02}-{name}.gguf").write_bytes(file.content())
        (folder / "corpus" / "load" / name).write_bytes(file.content())
        for seed in range(150):
            (folder / "corpus" / "load" / f"{name}-{seed}").write_bytes(gguf_mutants.mutant(Random(seed), file))
        for which, text in enumerate(TEXTS):
            for how in range(8):
                raw = bytes([place, how]) + text.encode()
                (folder / "corpus" / "text" / f"{name}-{which}-{how}").write_bytes(raw)
    (folder / "corpus" / "load" / "whole").write_bytes(small_models.llama().header())
    for which, grammar in enumerate(GRAMMARS):
        (folder / "corpus" / "grammar" / str(which)).write_bytes(grammar.encode() + b"\0\1\2\3\4\5")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
