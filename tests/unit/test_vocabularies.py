"""Tokens are upstream's: for each of its vocabularies, the texts that it tests them with, and the tokens it expects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llamasmith import Model

ROOT = Path(__file__).resolve().parents[2]
BORDER = "\n__ggml_vocab_test__\n"

NAMES = (
    "bert-bge", "command-r", "deepseek-coder", "deepseek-llm", "falcon", "gemma-4", "gpt-2", "llama-bpe",
    "llama-spm", "mpt", "phi-3", "qwen2", "qwen35", "refact", "starcoder",
)  # fmt: skip
WITHOUT_TEXTS = ("aquila", "baichuan", "gpt-neox", "nomic-bert-moe")


@pytest.fixture(scope="module")
def vocabs() -> Path:
    """The folder with the pinned commit's vocabularies, fetched once (75 MB)."""
    folder = ROOT / "build" / "upstream-vocabs"
    fetch = [sys.executable, str(ROOT / "vendor" / "fetch.py"), "--vocabs", "--quiet"]
    done = subprocess.run(fetch, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"upstream's vocabularies are not there: {done.stderr.strip()[-300:]}")
    return folder / "models"


@pytest.mark.network
@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_those_that_upstream_expects(vocabs: Path, name: str) -> None:
    path = vocabs / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{path}.inp").read_bytes().decode().split(BORDER)  # bytes: some have \\r
    texts = texts if texts[-1] else texts[:-1]  # a border may be the last of it
    lines = Path(f"{path}.out").read_bytes().decode().splitlines()
    assert len(texts) == len(lines) > 40
    with Model(path, vocab_only=True) as model:
        for text, line in zip(texts, lines, strict=True):
            tokens = model.tokenize(text, add_special=False)
            assert tokens == [int(word) for word in line.split()], repr(text)
            if name not in ("bert-bge",):  # lowercases, and drops spaces
                assert model.detokenize(tokens, remove_special=False).strip() in (text.strip(), cleaned(text))


def cleaned(text: str) -> str:
    """As some vocabularies want their text: no spaces before punctuation."""
    for before, after in ((" ?", "?"), (" !", "!"), (" .", "."), (" ,", ",")):
        text = text.replace(before, after)
    return text.strip()


@pytest.mark.network
def test_no_vocabulary_of_upstream_is_left_out(vocabs: Path) -> None:
    found = {path.stem.removeprefix("ggml-vocab-"): path for path in vocabs.glob("ggml-vocab-*.gguf")}
    assert set(found) == {*NAMES, *WITHOUT_TEXTS}
    for name in WITHOUT_TEXTS:
        assert not Path(f"{found[name]}.inp").exists()
        with Model(found[name], vocab_only=True) as model:
            assert model.detokenize(model.tokenize("hello world", add_special=False)).strip() == "hello world"
