"""The same greedy tokens as llama-cpp-python, which carries the same llama.cpp.

It is no dependency: name an interpreter that has version 0.3.36 in ``LLAMASMITH_TEST_PEER_PYTHON`` to run this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
PROMPT = "The blacksmith opened the door of the forge and"
# Interpreters differ, and so do processes: two libllama.so in one would be one. Flash attention is off in both.
PEER = """
import json, sys
import llama_cpp
llama = llama_cpp.Llama(sys.argv[1], n_ctx=256, n_threads=2, flash_attn=False, verbose=False, logits_all=False)
prompt = llama.tokenize(sys.argv[2].encode())
tokens = []
for token in llama.generate(prompt, temp=0.0, top_k=1, repeat_penalty=1.0):
    tokens.append(token)
    if len(tokens) == 64:
        break
print(json.dumps([prompt, tokens]))
"""
OURS = """
import json, sys
from llamasmith import Model, Session, load_engine
load_engine(sys.argv[3])
with Model(sys.argv[1]) as model, Session(model, n_ctx=256, n_threads=2, flash_attn="off") as session:
    prompt = model.tokenize(sys.argv[2])
    result = session.generate(prompt, max_tokens=64, temperature=0, ignore_eos=True)
print(json.dumps([prompt, list(result.tokens)]))
"""


@pytest.fixture(scope="module")
def peer_tokens(smollm2_path: Path) -> list[list[int]]:
    python = os.environ.get("LLAMASMITH_TEST_PEER_PYTHON", sys.executable)
    there = subprocess.run(
        [python, "-c", "import llama_cpp; print(llama_cpp.__version__)"], capture_output=True, text=True
    )
    if there.stdout.strip() != "0.3.36":
        pytest.skip("needs llama-cpp-python 0.3.36: LLAMASMITH_TEST_PEER_PYTHON=/path/to/its/python")
    done = subprocess.run([python, "-c", PEER, smollm2_path, PROMPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tokens: list[list[int]] = json.loads(done.stdout)
    return tokens


@pytest.mark.parametrize("engine", ["patched", "upstream", "upstream-openmp"])
def test_same_greedy_tokens(peer_tokens: list[list[int]], smollm2_path: Path, run_python: Any, engine: str) -> None:
    ours = run_python(OURS, smollm2_path, PROMPT, engine)
    assert json.loads(ours.stdout) == peer_tokens, ours.stderr
    assert len(peer_tokens[1]) == 64
