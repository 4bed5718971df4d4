"""Building from our source distribution: options are checked and kept, patches go in, stay out, or stop the build."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The first one, and those that build on it.
SKIPPED = ("threading-wait-policy", "threading-step-completion", "threading-persistent-pool")
CPU = "ggml/src/ggml-cpu/ggml-cpu.cpp"
LINE = '        features.push_back({ "SMITH_TEST", "1" });\n'
HEADER = "Subject: engine: names a feature that nobody else has\n\nTold apart from any other engine at run time.\n\n"

# What a user does with an installation: looks at it, loads a model, generates.
USE = """
import json, sys
import llamasmith
from llamasmith.errors import InvalidOption
info = llamasmith.build_info()
engine = llamasmith.load_engine()
with llamasmith.Session(llamasmith.Model(sys.argv[1]), n_ctx=64, n_threads=2) as session:
    result = session.generate("hello world", max_tokens=8, temperature=0, ignore_eos=True)
try:
    llamasmith.ThreadPool(2, wait="park")
    refused = ""
except InvalidOption as error:
    refused = str(error)
print(json.dumps({
    "file": llamasmith.__file__,
    "patches": [(patch.name, patch.origin, patch.subject, patch.scope) for patch in info.patches],
    "skipped": info.skipped, "engines": info.engines, "requested": info.requested,
    "features": engine.features, "chooses_wait": engine.chooses_wait, "tokens": result.tokens, "refused": refused,
}))
"""


def diff_of(source: Path, before: str, line: str) -> str:
    """A patch that puts a line before the one line of the file that begins so."""
    lines = (source / "vendor" / "llama.cpp" / CPU).read_text(encoding="utf-8").splitlines(keepends=True)
    (at,) = [number for number, text in enumerate(lines) if text.startswith(before)]
    start, around = at - 2, lines[at - 3 : at + 3]
    body = "".join(f" {text}" for text in around[:3]) + f"+{line}" + "".join(f" {text}" for text in around[3:])
    return f"--- a/{CPU}\n+++ b/{CPU}\n@@ -{start},6 +{start},7 @@\n{body}"


@pytest.fixture
def extra_patch(unpacked: Path) -> Path:
    """A sound patch of a user."""
    path = unpacked.parent / "my-feature.patch"
    path.write_text(HEADER + diff_of(unpacked, "        features.push_back({ nullptr", LINE), encoding="utf-8")
    return path


def record_of(build: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((build / "build.json").read_text(encoding="utf-8"))
    return record


def engine_is_told(build: Path, name: str, engine: str = "patched") -> list[str]:
    """The values of a definition in the sub-build of an engine."""
    (cache,) = build.glob(f"engine-{engine}-prefix/tmp/*-cache-*.cmake")
    return re.findall(rf'set\({name} "(.*?)" CACHE', cache.read_text(encoding="utf-8"))


@pytest.mark.compile
@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (
            "GGML_BLASS=ON",
            "GGML_BLASS is not an option of llamasmith or of the pinned llama.cpp. Did you mean GGML_BLAS?",
        ),
        ("LLAMASMITH_ENGINES=patchd", "Did you mean patched?"),
        ("GGML_VULKAN=ON", "builds only the backends cpu, "),
    ],
)
def test_an_option_nobody_knows_stops_the_configure_step(
    configure: Callable[..., Any], unpacked: Path, tmp_path: Path, definition: str, message: str
) -> None:
    done = configure(unpacked, tmp_path / "build", definition)
    assert done.returncode != 0
    assert message in done.stderr
    assert "an option is not understood" in done.stderr
    assert not (tmp_path / "build" / "patched").exists()
    done = configure(unpacked, tmp_path / "build")  # a build folder that stays does not keep what was refused
    assert done.returncode == 0, done.stderr
    assert record_of(tmp_path / "build")["requested"] == {}


@pytest.mark.compile
def test_a_second_configure_step_keeps_what_was_asked_for(
    configure: Callable[..., Any], unpacked: Path, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    before = {path.relative_to(unpacked) for path in unpacked.rglob("*")}
    for definitions in (["GGML_LLAMAFILE=OFF", "LLAMASMITH_ENGINES=patched"], []):
        done = configure(unpacked, build, *definitions)
        assert done.returncode == 0, done.stderr
        assert record_of(build)["requested"] == {"GGML_LLAMAFILE": "OFF", "LLAMASMITH_ENGINES": "patched"}
        assert engine_is_told(build, "GGML_LLAMAFILE") == ["OFF"]
        assert engine_is_told(build, "ENGINE_THREADING_DIR") == [str(unpacked / "src" / "threading")]
    written = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")} - {str(path) for path in before}
    assert written <= {"vendor/.lock", "vendor/llama.cpp/.llamasmith-verified"}  # no step writes into the sources


@pytest.mark.compile
def test_our_series_with_openmp(configure: Callable[..., Any], unpacked: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    done = configure(unpacked, build, "LLAMASMITH_ENGINES=patched;patched-openmp")
    if "the compiler has no OpenMP" in done.stderr:
        pytest.skip("the compiler has no OpenMP")
    assert done.returncode == 0, done.stderr
    for engine, openmp in (("patched", "OFF"), ("patched-openmp", "ON")):
        assert engine_is_told(build, "GGML_OPENMP", engine) == [openmp]
        assert engine_is_told(build, "ENGINE_THREADING_DIR", engine) == [str(unpacked / "src" / "threading")]
        assert engine_is_told(build, "ENGINE_GGML_DIR", engine) == [str(build / "patched" / "llama.cpp" / "ggml")]


@pytest.mark.compile
def test_upstreams_tests_that_nobody_delivers_stop_the_configure_step(
    configure: Callable[..., Any], unpacked: Path, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    done = configure(unpacked, build, "LLAMASMITH_UPSTREAM_TESTS=ON")  # offline, and the source distribution lacks them
    assert done.returncode != 0
    assert "upstream's tests cannot be delivered" in done.stderr
    done = configure(
        unpacked, build, f"LLAMASMITH_LLAMA_CPP_DIR={unpacked}/vendor/llama.cpp", "LLAMASMITH_UPSTREAM_TESTS=1"
    )
    assert "tests/test-barrier.cpp: missing" in done.stderr
    done = configure(unpacked, build)
    assert done.returncode == 0, done.stderr
    assert record_of(build)["requested"] == {}


@pytest.mark.compile
def test_a_patch_that_does_not_apply_stops_the_configure_step(
    configure: Callable[..., Any], unpacked: Path, extra_patch: Path, tmp_path: Path
) -> None:
    extra_patch.write_text(extra_patch.read_text(encoding="utf-8").replace("nullptr, nullptr", "NULL, NULL"))
    choices = [f"LLAMASMITH_EXTRA_PATCHES={extra_patch}", f"LLAMASMITH_SKIP_PATCHES={';'.join(SKIPPED)}"]
    done = configure(unpacked, tmp_path / "build", *choices)
    assert done.returncode != 0
    assert re.search(rf"my-feature.patch does not apply: {CPU}, hunk 1 \(@@ .* @@\), line \d+", done.stderr)
    assert re.search(r"expected: .*NULL, NULL", done.stderr)
    assert re.search(r"found: .*nullptr, nullptr", done.stderr)
    assert "the patch series does not apply" in done.stderr


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.network
@pytest.mark.timeout(1800)
def test_a_users_own_build(unpacked: Path, extra_patch: Path, tiny_path: Path, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler, cc (Debian: apt-get install gcc)")
    wishes = {
        "LLAMASMITH_ENGINES": "patched",
        "LLAMASMITH_EXTRA_PATCHES": str(extra_patch),
        "LLAMASMITH_SKIP_PATCHES": ";".join(SKIPPED),
    }
    target = tmp_path / "target"
    command = [sys.executable, "-m", "pip", "install", "-v", "--no-deps", "--target", str(target), str(unpacked)]
    command += [f"-Ccmake.define.{name}={value}" for name, value in wishes.items()]
    # A build folder at a place that is the same relative to the sources each time: ccache, if there, knows the objects.
    command += [f"-Cbuild-dir={tmp_path / 'build'}"]
    env = {**os.environ, "CCACHE_BASEDIR": str(tmp_path), "CCACHE_NOHASHDIR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    assert "is present and verified" in done.stdout + done.stderr  # the tree came with the source distribution

    env = {name: value for name, value in os.environ.items() if not name.startswith("LLAMASMITH_")}
    used = subprocess.run(
        [sys.executable, "-c", USE, str(tiny_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(target)},
    )
    assert used.returncode == 0, used.stderr
    facts = json.loads(used.stdout)
    assert facts["file"].startswith(str(target))
    subject = HEADER.splitlines()[0].removeprefix("Subject: ")
    series = (unpacked / "patches" / "series").read_text(encoding="utf-8").splitlines()
    skipped = [f"{name}.patch" for name in SKIPPED]
    kept = [name for name in series if name and not name.startswith("#") and name not in skipped]
    assert facts["patches"][-1] == ["my-feature.patch", "extra", subject, "cpu-engine"]
    assert [name for name, *_ in facts["patches"]] == [*kept, "my-feature.patch"]
    assert (facts["skipped"], facts["engines"]) == (skipped, ["patched"])
    assert facts["requested"] == wishes
    assert "SMITH_TEST" in facts["features"]
    assert len(facts["tokens"]) == 8
    assert facts["chooses_wait"] is False
    assert "chooses how to wait" in facts["refused"]
