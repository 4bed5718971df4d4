"""What we compute is what others compute from the same llama.cpp: greedy tokens, perplexity."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import llamasmith
from llamasmith import Model, Session
from llamasmith.engine import loaded_engine

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ("Once upon a time", "def fibonacci(n):", "The capital of France is")
N_TOKENS = 32

PEER = """
import json, sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=256, n_threads=2, n_threads_batch=2, verbose=False)
out = []
for prompt in json.loads(sys.argv[2]):
    model.reset()
    tokens = []
    for token in model.generate(model.tokenize(prompt.encode()), temp=0.0, top_k=1, repeat_penalty=1.0):
        tokens.append(int(token))
        if len(tokens) == int(sys.argv[3]):
            break
    out.append(tokens)
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def peer_python() -> str:
    """A Python that has llama-cpp-python 0.3.36, which carries the same llama.cpp."""
    named = os.environ.get("LLAMASMITH_TEST_PEER_PYTHON")
    if named:
        return named
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("name a Python that has llama-cpp-python 0.3.36: LLAMASMITH_TEST_PEER_PYTHON=/path/to/python")
    return sys.executable


@pytest.mark.model
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma-3-270m"])
def test_greedy_tokens_are_those_of_llama_cpp_python(peer_python: str, smollm2_path: Path, name: str) -> None:
    found = [path for path in smollm2_path.parent.glob("*.gguf") if path.name.lower().startswith(name[:7])]
    if not found:
        pytest.skip(f"{name} is not in the cache; fetch it with: llamasmith pull {name}")
    command = [peer_python, "-c", PEER, str(found[0]), json.dumps(PROMPTS), str(N_TOKENS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = json.loads(done.stdout)
    # Without flash attention, as llama-cpp-python has it: with it sums are added up in another order.
    with Model(found[0]) as model, Session(model, n_ctx=256, n_threads=2, flash_attn="off", n_batch=512) as session:
        for prompt, tokens in zip(PROMPTS, expected, strict=True):
            result = session.generate(prompt, max_tokens=N_TOKENS, temperature=0, ignore_eos=True)
            assert list(result.tokens) == tokens, prompt


@pytest.fixture(scope="module")
def perplexity_tool() -> str:
    named = os.environ.get("LLAMASMITH_TEST_PERPLEXITY")
    if named:
        return named
    llamasmith.load_engine()
    engine = loaded_engine()
    assert engine is not None
    tool = Path(llamasmith.__file__).parent / "engines" / engine.name / "llama-perplexity"
    if not tool.exists():
        pytest.skip("llama-perplexity is not there. Install with -C cmake.define.LLAMASMITH_TOOLS=ON, or name it: "
                    "LLAMASMITH_TEST_PERPLEXITY=/path/to/llama-perplexity")  # fmt: skip
    return str(tool)


@pytest.mark.model
def test_perplexity_is_that_of_llama_perplexity(perplexity_tool: str, smollm2_path: Path, tmp_path: Path) -> None:
    """To four digits: the second halves of texts of 128 tokens, each predicted from what stands before it."""
    n_ctx, text = 128, (ROOT / "README.md").read_text(encoding="utf-8")[:3000]
    file = tmp_path / "text"
    file.write_text(text, encoding="utf-8")
    sizes = ["-c", str(n_ctx), "-b", str(n_ctx), "-ub", str(n_ctx), "-t", "2"]
    done = subprocess.run([perplexity_tool, "-m", str(smollm2_path), "-f", str(file), *sizes], capture_output=True,
                          text=True, check=False)  # fmt: skip
    found = re.search(r"Final estimate: PPL = ([0-9.]+)", done.stdout + done.stderr)
    assert found, done.stderr[-2000:]

    losses: list[float] = []
    with (
        Model(smollm2_path) as model,
        Session(model, n_ctx=n_ctx, n_batch=n_ctx, n_ubatch=n_ctx, n_threads=2, n_outputs_max=n_ctx) as session,
    ):
        tokens = model.tokenize(text)
        for start in range(0, len(tokens) - n_ctx + 1, n_ctx):
            part = tokens[start : start + n_ctx]
            if model.vocab.add_bos:
                part[0] = model.vocab.special["bos"]
            session.reset()
            logits = session.decode(part, all_logits=True).astype(np.float64)
            for place in range(n_ctx // 2, n_ctx - 1):
                row = logits[place] - logits[place].max()
                losses.append(float(np.log(np.exp(row).sum()) - row[part[place + 1]]))
    ours = float(np.exp(np.mean(losses)))
    assert len(losses) >= 2 * (n_ctx // 2 - 1)
    assert f"{ours:.4g}" == f"{float(found[1]):.4g}"
