"""Backend rpc between network namespaces, which are as good as machines: a model split over two of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import rpc_world

from llamasmith import Model, Session
from llamasmith.errors import LlamaError, RpcError, SessionClosed
from llamasmith.rpc import load_rpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
PROMPT = [1, 5, 9, 30, 31, 32, 33]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Namespace:
    """A namespace with one line to this one, and addresses at both ends of it."""

    name: str
    link: str  # our end
    address: str  # its end's

    @property
    def prefix(self) -> list[str]:
        """What runs a command there."""
        return ["ip", "netns", "exec", self.name]


@contextlib.contextmanager
def namespace(number: int) -> Iterator[Namespace]:
    # An interface's name has at most 15 characters; other runs of this test may be under way.
    tag = f"ls{os.getpid() % 100000}{number}"
    net = f"10.{77 + number}.{os.getpid() // 256 % 256}"
    host = os.getpid() % 120 * 2 + 1
    made = Namespace(f"{tag}n", f"{tag}a", f"{net}.{host + 1}")
    ip("netns", "add", made.name)
    try:
        ip("link", "add", made.link, "type", "veth", "peer", "name", f"{tag}b", "netns", made.name)
        ip("address", "add", f"{net}.{host}/24", "dev", made.link)
        ip("link", "set", made.link, "up")
        ip("-n", made.name, "address", "add", f"{made.address}/24", "dev", f"{tag}b")
        ip("-n", made.name, "link", "set", f"{tag}b", "up")
        yield made
    finally:
        subprocess.run(["ip", "link", "delete", made.link], check=False, capture_output=True)
        ip("netns", "delete", made.name)


def can_make_namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with namespace(9):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False


pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not can_make_namespaces(), reason="needs root, the right to make network namespaces, and ip (Debian: iproute2)"
    ),
]


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    try:
        load_rpc()
    except LlamaError as error:
        pytest.skip(f"needs the backend rpc: pip install . -C cmake.define.LLAMASMITH_BACKENDS='cpu;rpc' ({error})")


@contextlib.contextmanager
def machine(number: int) -> Iterator[tuple[Namespace, rpc_world.Server]]:
    with (
        namespace(number) as there,
        rpc_world.server("--host", there.address, "--port", "50052", prefix=there.prefix) as server,
    ):
        yield there, server


def test_a_model_split_over_two_machines_of_which_one_dies(tiny: Any, tiny_path: Path) -> None:
    with Session(tiny, n_ctx=256, n_threads=1) as here:
        expected = here.generate(PROMPT, max_tokens=12, **GREEDY).tokens
    with machine(0) as (_, first), machine(1) as (_, second):
        model = Model(tiny_path, rpc=[first.endpoint, second.endpoint])
        session = Session(model, n_ctx=256, n_threads=1)
        assert session.generate(PROMPT, max_tokens=12, **GREEDY).tokens == expected

        stream = session.stream(PROMPT, max_tokens=200, **GREEDY)
        assert next(stream)
        second.kill()
        with pytest.raises(RpcError, match=f"{second.endpoint} is lost"):
            stream.finish()
        with pytest.raises(SessionClosed):
            session.decode([1])
        session.close()

        # The other one still serves, also while the dead model lives.
        with Model(tiny_path, rpc=[first.endpoint]) as rest, Session(rest, n_ctx=256, n_threads=1) as session:
            assert session.generate(PROMPT, max_tokens=12, **GREEDY).tokens == expected
        model.close()
    with Session(tiny, n_ctx=256, n_threads=1) as here:
        assert here.generate(PROMPT, max_tokens=12, **GREEDY).tokens == expected


def test_both_machines_hold_a_part(tiny_path: Path) -> None:
    """Else the tests above would prove little."""
    with machine(0) as (_, first), machine(1) as (_, second):
        before = [resident(server) for server in (first, second)]
        rpc = [first.endpoint, second.endpoint]
        with Model(tiny_path, rpc=rpc) as model, Session(model, n_ctx=256, n_threads=1) as session:
            session.generate(PROMPT, max_tokens=2, **GREEDY)
            grown = [resident(server) - size for server, size in zip((first, second), before, strict=True)]
    assert all(size > 0 for size in grown), grown


def resident(server: rpc_world.Server) -> int:
    """Bytes of memory that the server's process has."""
    children = [server.process.pid]
    with open(f"/proc/{children[0]}/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_machine_that_vanishes_without_a_word(tiny_path: Path) -> None:
    with machine(0) as (there, server):
        model = Model(tiny_path, rpc=[server.endpoint])
        session = Session(model, n_ctx=256, n_threads=1)
        stream = session.stream(PROMPT, max_tokens=None, **GREEDY)
        assert next(stream)
        ip("link", "set", there.link, "down")
        start = time.monotonic()
        with pytest.raises(RpcError, match="is lost"):
            stream.finish()
        assert time.monotonic() - start < 120, "the system's own patience: 15 minutes"
        session.close()
        with pytest.raises(RpcError, match="No RPC server answers at"):
            Model(tiny_path, rpc=[server.endpoint])
        model.close()
