"""vendor/fetch.py: every carrier delivers the same tree, and nothing else is ever taken for it."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from scripts import load_script

from llamasmith.errors import VendorError
from llamasmith.patchset.pin import digest_of, load_pin, parts_of, tree_listing, verify

ROOT = Path(__file__).resolve().parents[2]
FETCH = ROOT / "vendor" / "fetch.py"
SUBSET = ("CMakeLists.txt", "ggml", "scripts/one.cmake")
TREE = {
    "CMakeLists.txt": b"project(tiny)\n",
    "ggml/src/a.c": b"int a;\r\n",
    "ggml/src/deep/b b.c": b"int b;",
    "scripts/one.cmake": b"# one\n",
}
BESIDE = {"README.md": b"not built from\n", "scripts/two.cmake": b"# two\n", "ggml.txt": b"only its name begins so\n"}
BACKEND = b"""
import pathlib
def get_requires_for_build_wheel(config_settings=None):
    return []
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder, "tiny_carrier-1.0.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\\nName: tiny-carrier\\nVersion: 1.0\\n")
    return info.name
def build_wheel(*args, **kwargs):
    raise SystemExit("nobody needs a wheel")
"""


fetch = load_script(FETCH)


def write_tree(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def write_pin(path, listing, *, commit="c" * 40, carriers=""):
    parts = "".join(
        f'"{name}" = {{ files = {part.files}, digest = "{part.digest}" }}\n'
        for name, part in parts_of(listing, SUBSET).items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'commit = "{commit}"\ndate = "2026-10-01"\nversion = "1"\nsubset = {list(SUBSET)!r}\n'
        f'tree_digest = "{digest_of(listing)}"\n{carriers or "carriers = []"}\n[parts]\n{parts}'
    )
    return path


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "upstream tree", TREE | BESIDE)


@pytest.fixture
def pin(tmp_path, tree):
    return load_pin(write_pin(tmp_path / "house" / "UPSTREAM.toml", tree_listing(tree, SUBSET)))


@pytest.fixture
def dest(tmp_path):
    (tmp_path / "house").mkdir(exist_ok=True)
    return tmp_path / "house" / "llama.cpp"


def found(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".llamasmith")
    }


def assert_clean(dest):
    assert not list(dest.parent.glob(".fetch-*"))


# -- a directory


def test_a_directory_gives_the_subset_and_nothing_else(tree, pin, dest):
    said = []
    assert fetch.deliver(pin, dest, directory=tree, say=said.append)
    assert found(dest) == TREE
    assert said[0].startswith("copying llama.cpp ccccccccc from")
    assert "(4 files, verified)" in said[-1]
    assert_clean(dest)


def test_a_second_fetch_does_nothing(tree, pin, dest):
    fetch.deliver(pin, dest, directory=tree)
    before = {path: path.stat().st_mtime_ns for path in dest.rglob("*")}
    shutil.rmtree(tree)
    assert not fetch.deliver(pin, dest, directory=tree)
    assert {path: path.stat().st_mtime_ns for path in dest.rglob("*")} == before


def test_upstreams_tests_have_a_pin_of_their_own(tree, pin, tmp_path, monkeypatch, capsys):
    (tree / "tests").mkdir()
    (tree / "tests" / "test-a.cpp").write_text("int main() {}\n")
    subset = ["tests/test-a.cpp"]
    listing = tree_listing(tree, subset)
    with pin.path.open("a") as file:
        file.write(f'[tests]\nsubset = {subset!r}\ntree_digest = "{digest_of(listing)}"\n[tests.parts]\n')
        file.write(f'"{subset[0]}" = {{ files = 1, digest = "{digest_of(listing)}" }}\n')
    monkeypatch.chdir(tmp_path)  # the destination is relative
    words = ["--tests", "--pin", str(pin.path), "--from", str(tree), "--dest", "there"]
    assert fetch.main(words) == 0
    assert found(tmp_path / "there") == {subset[0]: b"int main() {}\n"}
    (tmp_path / "there" / subset[0]).write_text("int main() { return 0; }\n")
    assert fetch.main(words) == 1
    assert "tests/test-a.cpp: 1 files, but at least one has another content" in capsys.readouterr().err


def test_a_relative_destination_reaches_every_carrier(index, tmp_path, pip_settings, monkeypatch):
    folder, path = index
    pip_settings(folder)
    monkeypatch.chdir(tmp_path)
    assert fetch.main(["--pin", str(path), "--dest", "there"]) == 0
    assert found(tmp_path / "there") == TREE


def test_an_empty_folder_is_no_tree(tree, pin, dest):
    dest.mkdir()
    assert fetch.deliver(pin, dest, directory=tree)
    assert found(dest) == TREE


def test_files_get_the_time_of_the_fetch(tree, pin, dest):
    # An archive's fixed times would hide from ninja that the pin has moved.
    for path in tree.rglob("*"):
        os.utime(path, (1, 1))
    fetch.deliver(pin, dest, directory=tree)
    assert (dest / "CMakeLists.txt").stat().st_mtime > 1_000_000_000


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda tree: (tree / "ggml/src/a.c").write_bytes(b"int b;\r\n"),
            ["ggml: 2 files, but at least one has another"],
        ),
        (
            lambda tree: (tree / "ggml/src/a.c.orig").write_bytes(b""),
            ["ggml: 3 files instead of 2", "ggml/src/a.c.orig"],
        ),
        (lambda tree: (tree / "scripts/one.cmake").unlink(), ["scripts/one.cmake: missing"]),
        (lambda tree: shutil.rmtree(tree / "ggml"), ["is not a llama.cpp tree"]),
        (lambda tree: shutil.rmtree(tree), ["is not a directory"]),
        (lambda tree: (tree / "ggml/link").symlink_to("src"), ["is a symbolic link"]),
    ],
)
def test_another_tree_is_refused_with_reasons_and_a_way_out(tree, pin, dest, spoil, words):
    spoil(tree)
    with pytest.raises(VendorError) as caught:
        fetch.deliver(pin, dest, directory=tree)
    text = str(caught.value)
    assert all(word in text for word in [*words, "LLAMASMITH_LLAMA_CPP_DIR", pin.commit]), text
    if "digest" in text:
        assert pin.tree_digest in text
        assert digest_of(tree_listing(tree, SUBSET)) in text
    assert not dest.exists()
    assert_clean(dest)


# -- what is there already


@pytest.mark.parametrize("name", ["ggml/src/a.c", "ggml/src/new.c", "scripts/one.cmake"])
def test_an_edited_tree_is_kept_until_force(tree, pin, dest, name):
    fetch.deliver(pin, dest, directory=tree)
    (dest / name).write_bytes(b"my work")
    with pytest.raises(VendorError, match=r"left as it is[\s\S]*--force"):
        fetch.deliver(pin, dest, directory=tree)
    assert (dest / name).read_bytes() == b"my work"
    assert fetch.deliver(pin, dest, directory=tree, force=True)
    assert found(dest) == TREE
    assert_clean(dest)


def test_an_edit_that_keeps_size_and_time_is_seen(tree, pin, dest):
    fetch.deliver(pin, dest, directory=tree)
    path = dest / "ggml/src/a.c"
    facts = path.stat()
    path.write_bytes(b"int b;\r\n")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    with pytest.raises(VendorError):
        fetch.deliver(pin, dest, directory=tree)


def test_an_unchanged_tree_is_not_hashed_again(tree, pin, dest, monkeypatch):
    fetch.deliver(pin, dest, directory=tree)
    monkeypatch.setattr("llamasmith.patchset.pin.tree_listing", lambda *_: pytest.fail("hashed"))
    assert not fetch.deliver(pin, dest, directory=tree)


def test_a_copied_tree_is_hashed_again_and_good(tree, pin, dest, tmp_path):
    fetch.deliver(pin, dest, directory=tree)
    dest.rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", dest)  # as in an unpacked source distribution: the stamp came along
    assert not fetch.deliver(pin, dest, git="nowhere")


def test_an_untouched_tree_of_another_pin_is_replaced(tree, pin, dest, tmp_path):
    fetch.deliver(pin, dest, directory=tree)
    (tree / "ggml/src/a.c").write_bytes(b"int moved;\n")
    moved = load_pin(write_pin(tmp_path / "moved.toml", tree_listing(tree, SUBSET), commit="d" * 40))
    said = []
    assert fetch.deliver(moved, dest, directory=tree, say=said.append)
    assert "another pin" in said[0]
    assert (dest / "ggml/src/a.c").read_bytes() == b"int moved;\n"


def test_a_read_only_tree_is_verified_without_a_stamp(tree, pin, dest, monkeypatch):
    write_tree(dest, TREE)
    monkeypatch.setattr("llamasmith.patchset.pin.write_stamp", lambda *_: False)  # root may write anywhere
    monkeypatch.setattr(fetch, "locked", lambda *_: pytest.fail("locked"))
    assert not fetch.deliver(pin, dest)
    assert not (dest / ".llamasmith-verified").exists()
    assert verify(dest, pin) == ""


def test_a_folder_that_cannot_be_written_to_says_so(tree, pin, dest, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fetch, "locked", refuse)
    with pytest.raises(VendorError, match="cannot be written to"):
        fetch.deliver(pin, dest, directory=tree)


# -- interrupted, parallel, full


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_fetch_leaves_nothing(tree, pin, dest, monkeypatch, error):
    place, count = fetch.place, []

    def interrupted(*args, **kwargs):
        count.append(1)
        if len(count) == 3:
            raise error
        place(*args, **kwargs)

    monkeypatch.setattr(fetch, "place", interrupted)
    with pytest.raises(error):
        fetch.deliver(pin, dest, directory=tree)
    assert not dest.exists()
    assert_clean(dest)
    assert fetch.deliver(pin, dest, directory=tree)


def test_what_a_killed_fetch_left_is_swept_up(tree, pin, dest):
    write_tree(dest.parent / ".fetch-killed" / "llama.cpp", TREE)
    assert fetch.deliver(pin, dest, directory=tree)
    assert_clean(dest)


def test_a_full_disk_is_one_clear_message(tree, pin, dest, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "place", full)
    with pytest.raises(VendorError, match=r"is full: a fetch needs about \d+ MB"):
        fetch.deliver(pin, dest, directory=tree)
    assert_clean(dest)


def test_a_second_fetch_waits_for_the_first(tree, pin, dest):
    held, waiting, calls = threading.Event(), threading.Event(), []

    def slow(out, _say):
        calls.append(1)
        held.set()
        assert waiting.wait(30)
        write_tree(out, TREE)

    def say(line):
        if "another fetch" in line:
            waiting.set()

    original = fetch.carriers
    fetch.carriers = lambda *_: [slow]
    try:
        first = threading.Thread(target=fetch.deliver, args=(pin, dest))
        first.start()
        assert held.wait(30)
        assert not fetch.deliver(pin, dest, say=say)  # waited, and found it done
        first.join()
    finally:
        fetch.carriers = original
    assert calls == [1]
    assert found(dest) == TREE


def test_two_processes_at_once_make_one_tree(tree, pin, dest):
    command = [sys.executable, FETCH, "--from", tree, "--dest", dest, "--pin", pin.path]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    results = [child.communicate(timeout=60) for child in both]
    assert [child.returncode for child in both] == [0, 0], results
    assert sum("copying" in out for out, _ in results) == 1
    assert found(dest) == TREE
    assert_clean(dest)


# -- the package index


def add(tar, name, content, **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mtime = 1
    for key, value in fields.items():
        setattr(member, key, value)
    tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def index(tmp_path, tree):
    """A folder with a source distribution that carries the tree, and the pin that asks for it."""
    folder = tmp_path / "index"
    folder.mkdir()
    sdist = folder / "tiny_carrier-1.0.tar.gz"
    with tarfile.open(sdist, "w:gz") as tar:
        add(tar, "tiny_carrier-1.0/PKG-INFO", b"Metadata-Version: 2.1\nName: tiny-carrier\nVersion: 1.0\n")
        project = b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        add(tar, "tiny_carrier-1.0/pyproject.toml", project)
        add(tar, "tiny_carrier-1.0/backend.py", BACKEND)
        for name, content in (TREE | BESIDE).items():
            add(tar, f"tiny_carrier-1.0/vendor/llama.cpp/{name}", content)
    sha256 = tree_listing(folder, [sdist.name])[sdist.name]
    carriers = (
        f'[[carriers]]\nkind = "index"\nproject = "tiny-carrier"\nversion = "1.0"\nsha256 = "{sha256}"\nbytes = 1\n'
        'inside = "tiny_carrier-1.0/vendor/llama.cpp"\n'
    )
    path = write_pin(tmp_path / "house" / "UPSTREAM.toml", tree_listing(tree, SUBSET), carriers=carriers)
    return folder, path


@pytest.fixture
def pip_settings(monkeypatch):
    """Sets pip's environment to a folder and nothing else: what is delivered came by the user's settings."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("this environment has no pip")

    def settings(folder):
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    return settings


def test_the_index_delivers_by_the_users_own_settings(index, dest, pip_settings):
    folder, path = index
    pip_settings(folder)
    said = []
    assert fetch.deliver(load_pin(path), dest, say=said.append)
    assert found(dest) == TREE
    assert said[0].startswith("fetching tiny-carrier 1.0")
    assert_clean(dest)


def test_another_archive_of_that_name_is_refused(index, dest, pip_settings):
    folder, path = index
    pip_settings(folder)
    sha256 = path.read_text().split('sha256 = "')[1].split('"')[0]
    path.write_text(path.read_text().replace(sha256, "0" * 64))
    with pytest.raises(VendorError) as caught:
        fetch.deliver(load_pin(path), dest)
    assert "pip download: exit status 1" in str(caught.value)
    assert "LLAMASMITH_LLAMA_CPP_DIR" in str(caught.value)
    assert not dest.exists()


def test_no_index_and_no_git_is_one_message_with_the_way_out(index, dest, pip_settings, tmp_path, capsys, monkeypatch):
    _, path = index
    (tmp_path / "empty").mkdir()
    pip_settings(tmp_path / "empty")
    for name in ("LLAMASMITH_LLAMA_CPP_DIR", "LLAMASMITH_LLAMA_CPP_GIT"):
        monkeypatch.delenv(name, raising=False)
    assert fetch.main(["--dest", str(dest), "--pin", str(path)]) == 1
    error = capsys.readouterr().err
    assert "tiny-carrier" in error
    assert "LLAMASMITH_LLAMA_CPP_DIR" in error
    assert "Traceback" not in error


def test_no_pip_and_no_git_are_named(pin, dest, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    carriers = (
        {"kind": "index", "project": "p", "version": "1", "sha256": "0", "bytes": 1, "inside": "x"},
        {"kind": "git", "url": "/nowhere/repository"},
    )
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(VendorError) as caught:
        fetch.deliver(type(pin)(**{**vars(pin), "carriers": carriers}), dest)
    assert "pip download: /nowhere/python cannot be run" in str(caught.value)
    assert "git init: git cannot be run" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("top/ggml/../../../evil", {}),
        ("top/ggml/link", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}),
        ("top/ggml/hard", {"type": tarfile.LNKTYPE, "linkname": "/etc/passwd"}),
        ("top/ggml/pipe", {"type": tarfile.FIFOTYPE}),
    ],
)
def test_a_hostile_archive_is_refused(pin, tmp_path, name, fields):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        add(tar, name, b"", **fields)
    buffer.seek(0)
    with pytest.raises(VendorError, match="unsafe member"):
        fetch.unpack(buffer, "top", pin, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_members_outside_the_subset_are_not_looked_at(pin, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        add(tar, "/etc/evil", b"")
        add(tar, "../evil", b"")
        add(tar, "top/README.md", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "top/ggml/a.c", b"good")
    buffer.seek(0)
    fetch.unpack(buffer, "top", pin, tmp_path / "out")
    assert found(tmp_path / "out") == {"ggml/a.c": b"good"}


# -- git


@pytest.fixture
def repository(tmp_path, tree):
    """A bare repository where the pinned commit is not the newest, and the pin that names it."""
    if shutil.which("git") is None:
        pytest.skip("this machine has no git")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*args):
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "core.autocrlf=false"]
        return subprocess.run(["git", *identity, *args], cwd=tree, env=env, check=True, capture_output=True, text=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "pinned")
    commit = git("rev-parse", "HEAD").stdout.strip()
    listing = tree_listing(tree, SUBSET)
    (tree / "ggml/src/a.c").write_bytes(b"int later;\n")
    git("commit", "-q", "-a", "-m", "later")
    git("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    return tmp_path / "bare.git", write_pin(tmp_path / "house" / "UPSTREAM.toml", listing, commit=commit)


@pytest.mark.parametrize("form", ["path", "url"])
def test_git_delivers_the_one_commit(repository, dest, form, monkeypatch):
    bare, path = repository
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a hook; must not lead us astray
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    url = str(bare) if form == "path" else bare.as_uri()
    assert fetch.deliver(load_pin(path), dest, git=url)
    assert found(dest) == TREE
    assert_clean(dest)


def test_a_server_that_refuses_a_bare_commit_is_asked_for_its_branches(repository, dest, monkeypatch):
    bare, path = repository
    run, commands = fetch.run, []

    def refusing(command, *args, **kwargs):
        commands.append(command)
        if "--depth=1" in command:
            raise VendorError("not our ref")
        run(command, *args, **kwargs)

    monkeypatch.setattr(fetch, "run", refusing)
    assert fetch.deliver(load_pin(path), dest, git=str(bare))
    assert found(dest) == TREE


def test_a_repository_without_the_commit_is_refused(repository, dest, tmp_path):
    bare, path = repository
    path.write_text(path.read_text().replace(load_pin(path).commit, "e" * 40))
    with pytest.raises(VendorError, match=r"git (fetch|archive): exit status"):
        fetch.deliver(load_pin(path), dest, git=str(bare))
    assert not dest.exists()


# -- the command line


def test_the_environment_names_a_carrier_and_the_command_line_wins(tree, pin, dest, monkeypatch, capsys, tmp_path):
    common = ["--dest", str(dest), "--pin", str(pin.path)]
    monkeypatch.setenv("LLAMASMITH_LLAMA_CPP_DIR", str(tmp_path / "missing"))
    assert fetch.main(common) == 1
    assert "missing is not a directory" in capsys.readouterr().err
    assert fetch.main([*common, "--from", str(tree)]) == 0
    assert fetch.main(common) == 0
    assert "present and verified" in capsys.readouterr().out


def test_check_hashes_and_fetches_nothing(tree, pin, dest, capsys):
    common = ["--check", "--dest", str(dest), "--pin", str(pin.path)]
    assert fetch.main(common) == 1
    assert "does not exist" in capsys.readouterr().err
    fetch.deliver(pin, dest, directory=tree)
    assert fetch.main([*common, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    (dest / "ggml/src/a.c").write_bytes(b"x")
    assert fetch.main(common) == 1
    assert pin.tree_digest in capsys.readouterr().err


def test_a_broken_pin_is_no_traceback(tmp_path, capsys):
    for text in ("", "commit = 1", "not toml ["):
        (tmp_path / "UPSTREAM.toml").write_text(text)
        assert fetch.main(["--pin", str(tmp_path / "UPSTREAM.toml"), "--dest", str(tmp_path / "x")]) == 1
        assert "is not a pin" in capsys.readouterr().err


def test_it_runs_with_nothing_installed(tree, pin, dest):
    """The build's interpreter has no llamasmith yet: the script finds what it needs beside itself."""
    command = [sys.executable, "-S", str(FETCH), "--from", str(tree), "--dest", str(dest), "--pin", str(pin.path)]
    if sys.version_info < (3, 11):
        command.remove("-S")  # tomli is a package there
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert found(dest) == TREE


# -- the real one


def test_our_pin_is_in_order():
    pin = load_pin(ROOT / "vendor" / "UPSTREAM.toml")
    assert len(pin.commit) == 40
    assert set(pin.parts) == set(pin.subset)
    assert [carrier["kind"] for carrier in pin.carriers] == ["index", "git"]
    tests = load_pin(ROOT / "vendor" / "UPSTREAM.toml", tests=True)
    names = {f"tests/test-{name}.cpp" for name in ("barrier", "thread-safety", "backend-ops")}
    assert set(tests.parts) == set(tests.subset) == names
    assert (tests.commit, tests.carriers) == (pin.commit, pin.carriers)


@pytest.mark.network
def test_the_index_carries_our_pin(tmp_path):
    pin = load_pin(ROOT / "vendor" / "UPSTREAM.toml")
    assert fetch.deliver(type(pin)(**{**vars(pin), "carriers": pin.carriers[:1]}), tmp_path / "llama.cpp")
