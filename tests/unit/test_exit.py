"""A process ends as it should, whatever is alive or under way in it; and one interpreter has llamasmith, not two."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = """
import logging, sys, threading, time
import numpy as np
from llamasmith import Model, Session, ThreadPool, quantize
from llamasmith import samplers as s
from llamasmith._native import _core
logging.getLogger("llamasmith").setLevel(logging.ERROR)
path = sys.argv[1]
GREEDY = dict(temperature=0, ignore_eos=True)

def behind(work):
    started = threading.Event()
    def run():
        started.set()
        while True:
            try:
                work()
            except Exception as error:
                print(type(error).__name__, file=sys.stderr)
                return
    threading.Thread(target=run, daemon=True).start()
    started.wait()
    time.sleep(0.05)
"""

STATES = {
    "nothing loaded": "",
    "everything alive": """
model = Model(path); pool = ThreadPool(2, wait="park"); session = Session(model, n_ctx=64, pool=pool)
session.decode([1, 40]); view = session._context.logits(-1, copy=False); array = np.asarray(view, copy=False)
batch = _core.Batch(session._context); vocab = model.vocab
chain = s.sampler_chain(model, [s.Grammar("root ::= [a-z]*"), s.Greedy()])
""",
    "everything closed": """
model = Model(path); pool = ThreadPool(2); session = Session(model, n_ctx=64, pool=pool)
session.decode([1]); session.close(); pool.close(); model.close()
""",
    "in a cycle": """
class Holder: pass
holder = Holder(); holder.self = holder; holder.model = Model(path); holder.session = Session(holder.model, n_ctx=64)
holder.session.decode([1])
""",
    "a stream half read": """
model = Model(path); session = Session(model, n_ctx=128, n_threads=2)
stream = session.stream([1, 40], max_tokens=50, **GREEDY); next(stream)
""",
    "a paused pool": """
model = Model(path); pool = ThreadPool(2); session = Session(model, n_ctx=64, pool=pool)
session.decode([1]); pool._native.pause()
""",
    "while loading": "behind(lambda: Model(path))",
    "while tokenising": "model = Model(path); behind(lambda: model.tokenize('hello world ' * 20000))",
    "while decoding": """
model = Model(path); session = Session(model, n_ctx=4096, n_threads=2)
def work():
    session.reset(); session.decode([1 + i % 250 for i in range(4000)])
behind(work)
""",
    "while generating": """
model = Model(path)
for _ in range(3):
    def work(session=Session(model, n_ctx=4096, n_threads=1)):
        session.generate([1, 40], max_tokens=None, **GREEDY)
    behind(work)
""",
    "while a sampler in Python runs": """
model = Model(path); session = Session(model, n_ctx=4096, n_threads=1)
chain = s.sampler_chain(model, [s.Custom(lambda ids, logits: None), s.Greedy()])
behind(lambda: session.generate([1, 40], max_tokens=None, ignore_eos=True, samplers=chain))
""",
    "while quantising": "behind(lambda: quantize(path, path + '.out', 'Q8_0', n_threads=1))",
    "while saving states": """
model = Model(path); session = Session(model, n_ctx=512, n_threads=1); session.decode([1] * 400)
behind(lambda: session.load_state(session.save_state()))
""",
    "while sessions come and go": """
model = Model(path); behind(lambda: Session(model, n_ctx=64, n_threads=2).close())
""",
    "with an exception": "model = Model(path); session = Session(model, n_ctx=64); sys.exit(3)",
}


@pytest.mark.parametrize("state", STATES)
def test_exit(tiny_path: Path, tmp_path: Path, run_python: Any, state: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_path.read_bytes())
    result = run_python(BEGIN + STATES[state], path, timeout=60)
    assert (result.returncode, result.stderr) == (3 if "sys.exit" in STATES[state] else 0, "")


def test_a_second_interpreter_is_refused(run_python: Any) -> None:
    """Of one process. Since Python 3.12 the interpreter refuses it by itself, before that pybind11 does."""
    code = """
import sys
import llamasmith._native
if sys.version_info >= (3, 14):
    from concurrent import interpreters
    other = interpreters.create()
    run = other.exec
elif sys.version_info >= (3, 13):
    import _interpreters
    other = _interpreters.create()
    run = lambda code: _interpreters.exec(other, code)
else:
    import _xxsubinterpreters
    other = _xxsubinterpreters.create()
    run = lambda code: _xxsubinterpreters.run_string(other, code)
run('''
import sys
try:
    from llamasmith._native import _core
    _core.ThreadPool
    print("imported")
except ImportError as error:
    print("ImportError:", error)
''')
sys.stdout.flush()
"""
    result = run_python(code, timeout=60)
    assert result.stdout.startswith("ImportError:"), result.stdout + result.stderr


@pytest.mark.skipif(not hasattr(sys, "_is_gil_enabled"), reason="needs Python 3.13 or newer")
def test_python_without_a_gil_gets_one(run_python: Any) -> None:
    result = run_python("import sys, warnings; warnings.simplefilter('ignore')\nimport llamasmith\n"
                        "from llamasmith._native import _core\nprint(sys._is_gil_enabled())")  # fmt: skip
    assert result.stdout.split() == ["True"], result.stderr
