"""The subject llama-bench, with a stand-in for the library or program."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from subject_world import NO_LIMIT, PER_TOKEN, load

from llamasmith.lab.worker.subject import NotSupported, SubjectMissing
from llamasmith.lab.worker.subjects.llama_bench import LlamaBenchSubject

if TYPE_CHECKING:
    from pathlib import Path

BENCH = """\
import json, pathlib, sys
here = pathlib.Path(__file__).parent
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with open(here / "calls", "a") as calls:
    print(json.dumps([given, sys.stdin.read()]), file=calls)
if (here / "fail").exists():
    sys.exit("error: failed to load model")
n = int(given["-p"]) + int(given["-n"])
samples = [int(n * {per_token} * 1e9)] * int(given["-r"])
facts = {{"build_commit": "abc", "model_type": "llama", "poll": 50}}
print(json.dumps([facts | {{"samples_ns": samples}}]))
"""


class Bench:
    """A stand-in for the program, in the place where an installation has it."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "engines" / "patched"
        self.folder.mkdir(parents=True)
        self.file = self.folder / "llama-bench"
        script = self.folder / "bench.py"
        script.write_text(BENCH.format(per_token=PER_TOKEN), encoding="utf-8")
        # Not by the script's own first line: an interpreter whose path has a space cannot be named there.
        self.file.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{script}' \"$@\"\n", encoding="utf-8")
        self.file.chmod(0o755)
        info = SimpleNamespace(engines=("patched", "upstream"), asdict=lambda: {"pin": "b1"})
        self.subject = LlamaBenchSubject(SimpleNamespace(build_info=lambda: info, package_root=lambda: root))

    @property
    def calls(self) -> list[tuple[dict[str, str], str]]:
        lines = (self.folder / "calls").read_text(encoding="utf-8").splitlines()
        return [(given, stdin) for given, stdin in map(json.loads, lines)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "a place")


def test_llama_bench_takes_settings(bench: Bench) -> None:
    facts = bench.subject.load(
        engine="patched",
        model="m.gguf",
        model_options={"use_extra_bufts": False},
        session_options={"n_threads": 2, "n_threads_batch": 3, "n_batch": 64, "flash_attn": "auto", "type_k": "q8_0"},
        sessions=1,
    )
    same = {"-m": "m.gguf", "-o": "json", "-b": "64", "-fa": "auto", "-ctk": "q8_0", "--repack": "0", "-r": "1"}
    (prompt, read), (generated, _) = bench.calls
    assert prompt == same | {"-p": "32", "-n": "0", "-t": "3"}
    assert generated == same | {"-p": "0", "-n": "4", "-d": "10", "-t": "2"}
    assert read == ""  # it must not take the worker's requests
    assert facts == {
        "library": "llama-bench",
        "version": "abc",
        "engine": "patched",
        "model": "llama",
        "poll": 50,
        "build": {"pin": "b1"},
    }


def test_llama_bench_runs_once_for_a_sample(bench: Bench) -> None:
    load(bench.subject, engine="patched")
    assert bench.subject.sample("pp", 8, 0, 3, NO_LIMIT) == (24, [8 * PER_TOKEN] * 3)
    assert bench.subject.sample("tg", 4, 0, 2, NO_LIMIT) == (8, [4 * PER_TOKEN] * 2)
    assert [call["-r"] for call, _ in bench.calls] == ["1", "1", "3", "2"]
    assert bench.subject.prompt(8, 0) == 8 * PER_TOKEN
    assert bench.subject.generate(4) == 4 * PER_TOKEN
    assert bench.subject.outputs(4, NO_LIMIT) is None
    assert not bench.subject.has_resource_usage
    with pytest.raises(NotSupported, match=r"does not measure ttft\. It measures: pp, tg"):
        bench.subject.sample("ttft", 8, 0, 1, NO_LIMIT)


def test_llama_bench_takes_on_what_fits_into_the_time(bench: Bench) -> None:
    load(bench.subject, engine="patched")
    assert bench.subject.sample("tg", 64, 0, 5, 2.0) == (8, [8 * PER_TOKEN])
    assert bench.subject.sample("tg", 4, 0, 5, 2.0) == (8, [4 * PER_TOKEN] * 2)
    assert bench.subject.sample("pp", 16, 0, 5, 2.0) == (16, [16 * PER_TOKEN])  # a prompt cannot be cut


def test_llama_bench_fails_in_words(bench: Bench) -> None:
    with pytest.raises(NotSupported, match=r"no engine 'quux'\. Engines: patched, upstream"):
        load(bench.subject, engine="quux")
    with pytest.raises(SubjectMissing, match="LLAMASMITH_TOOLS=ON"):
        load(bench.subject, engine="upstream")
    (bench.folder / "fail").touch()
    with pytest.raises(RuntimeError, match=r"(?s)llama-bench -m folder/m.gguf .*status 1\nerror: failed to load model"):
        load(bench.subject, engine="patched")
    bench.file.write_text("#!/bin/sh\necho nonsense\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"(?s)failed: .*nonsense"):
        load(bench.subject, engine="patched")
