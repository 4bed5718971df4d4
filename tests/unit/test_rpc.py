"""Backend rpc: servers on this machine, what they compute, and that nothing they do ends this process."""

from __future__ import annotations

import re
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rpc_world

from llamasmith import Model, Session
from llamasmith.errors import InvalidOption, LlamaError, ModelNotFound, RpcError, SessionClosed
from llamasmith.rpc import MAX_SERVERS, RpcServer, endpoints, load_rpc

if TYPE_CHECKING:
    from collections.abc import Iterator

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
PROMPT = [1, 5, 9, 30, 31, 32, 33]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def backend() -> None:
    try:
        load_rpc()
    except LlamaError as error:
        pytest.skip(f"needs the backend rpc: pip install . -C cmake.define.LLAMASMITH_BACKENDS='cpu;rpc' ({error})")


@pytest.fixture(scope="module")
def server() -> Iterator[rpc_world.Server]:
    """One for all tests that leave it alive; it serves one of them at a time."""
    with rpc_world.server("--port", "0") as running:
        yield running


def session_of(model: Any, **options: Any) -> Session:
    return Session(model, n_ctx=256, n_threads=1, **options)


# What is computed


def test_results_are_those_of_this_machine(server: rpc_world.Server, tiny: Any, tiny_path: Path) -> None:
    with session_of(tiny) as here:
        expected = here.decode(PROMPT)
        text = here.generate(PROMPT, max_tokens=16, **GREEDY)
    with Model(tiny_path, rpc=[server.endpoint]) as model, session_of(model) as there:
        np.testing.assert_allclose(there.decode(PROMPT), expected, rtol=1e-3, atol=1e-3)
        assert there.generate(PROMPT, max_tokens=16, **GREEDY).tokens == text.tokens


def test_a_part_may_stay_here(server: rpc_world.Server, tiny: Any, tiny_path: Path) -> None:
    with session_of(tiny) as here:
        expected = here.generate(PROMPT, max_tokens=8, **GREEDY).tokens
    with Model(tiny_path, rpc=server.endpoint, n_gpu_layers=1) as model, session_of(model) as half:
        assert half.generate(PROMPT, max_tokens=8, **GREEDY).tokens == expected


def test_two_servers_share_a_model(server: rpc_world.Server, tiny: Any, tiny_path: Path) -> None:
    with session_of(tiny) as here:
        expected = here.generate(PROMPT, max_tokens=8, **GREEDY).tokens
    with (
        rpc_world.server("--port", "0") as other,
        Model(tiny_path, rpc=f"{server.endpoint},{other.endpoint}") as model,
        session_of(model) as both,
    ):
        assert both.generate(PROMPT, max_tokens=8, **GREEDY).tokens == expected


def test_a_session_survives_the_end_of_another_one(server: rpc_world.Server, tiny: Any, tiny_path: Path) -> None:
    """The server forgets its graphs when a buffer is freed; upstream's client does not know that."""
    with session_of(tiny) as here:
        expected = here.generate(PROMPT, max_tokens=12, **GREEDY).tokens
    with Model(tiny_path, rpc=[server.endpoint]) as model, session_of(model) as session:
        stream = session.stream(PROMPT, max_tokens=12, **GREEDY)
        for _ in range(4):
            next(stream)
        session_of(model).close()
        assert stream.finish().tokens == expected


def test_sessions_in_threads_take_turns(server: rpc_world.Server, tiny: Any, tiny_path: Path) -> None:
    with session_of(tiny) as here:
        expected = here.generate(PROMPT, max_tokens=24, **GREEDY).tokens
    with Model(tiny_path, rpc=[server.endpoint]) as model:
        results: list[Any] = []

        def work() -> None:
            for _ in range(3):
                with session_of(model) as session:
                    results.append(session.generate(PROMPT, max_tokens=24, **GREEDY).tokens)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [expected] * 9


def test_models_of_one_server_share_its_connection(server: rpc_world.Server, tiny_path: Path) -> None:
    with Model(tiny_path, rpc=[server.endpoint]) as first:
        with Model(tiny_path, rpc=[server.endpoint]) as second, session_of(second) as session:
            expected = session.generate(PROMPT, max_tokens=4, **GREEDY).tokens
        with session_of(first) as session:
            assert session.generate(PROMPT, max_tokens=4, **GREEDY).tokens == expected


# A server that is lost


def test_a_server_that_is_killed_takes_its_sessions_and_nothing_else(tiny: Any, tiny_path: Path) -> None:
    with rpc_world.server("--port", "0") as server:
        model = Model(tiny_path, rpc=[server.endpoint])
        session = session_of(model)
        stream = session.stream(PROMPT, max_tokens=100, **GREEDY)
        assert next(stream)
        server.kill()
        with pytest.raises(RpcError, match=f"{server.endpoint} is lost.*load the model again"):
            stream.finish()
        for call in (lambda: session.decode([1]), lambda: session.generate([1]), lambda: next(stream), session.reset):
            with pytest.raises(SessionClosed, match="session is closed"):
                call()
        session.close()
        with pytest.raises(RpcError, match="is lost"):
            session_of(model)
        assert model.tokenize("hello")  # the vocabulary is here
        with pytest.raises(RpcError, match=f"No RPC server answers at {server.endpoint}: nobody listens"):
            Model(tiny_path, rpc=[server.endpoint])

        # A new one at the same address, while the old model still lives.
        with rpc_world.server("--port", server.endpoint.rpartition(":")[2]):
            with pytest.raises(RpcError, match="is lost"):
                session_of(model)
            with Model(tiny_path, rpc=[server.endpoint]) as again, session_of(again) as session:
                assert session.generate(PROMPT, max_tokens=4, **GREEDY).tokens
            model.close()
    with session_of(tiny) as here:
        assert here.generate(PROMPT, max_tokens=4, **GREEDY).tokens


def test_a_server_that_was_started_anew_in_between_is_found(tiny_path: Path) -> None:
    with rpc_world.server("--port", "0") as server:
        old = Model(tiny_path, rpc=[server.endpoint])
        server.kill()
        # Nobody has noticed yet.
        with rpc_world.server("--port", server.endpoint.rpartition(":")[2]):
            with Model(tiny_path, rpc=[server.endpoint]) as new, session_of(new) as session:
                assert session.generate(PROMPT, max_tokens=2, **GREEDY).tokens
            with pytest.raises(RpcError, match="is lost"):
                session_of(old)
        old.close()


CUTS = """
import random, sys
sys.path.insert(0, sys.argv[3])
import rpc_world
from llamasmith import Model, Session
from llamasmith.errors import RpcError

endpoint, path = sys.argv[1:3]

def work(address):
    with Model(path, rpc=[address]) as model, Session(model, n_ctx=64, n_threads=1) as session:
        with Session(model, n_ctx=64, n_threads=1) as other:
            other.generate([1, 2, 3], max_tokens=2, temperature=0, ignore_eos=True)
        return session.generate([1, 5, 9], max_tokens=3, temperature=0, ignore_eos=True).tokens

with rpc_world.proxy(endpoint, None) as address:
    whole = work(address)
errors = 0
for limit in map(int, sys.argv[4:]):
    with rpc_world.proxy(endpoint, limit) as address:
        try:
            assert work(address) == whole, limit
        except RpcError:
            errors += 1
print("errors", errors)
"""


def test_a_line_that_is_cut_anywhere_gives_an_error(server: rpc_world.Server, tiny_path: Path, run_python: Any) -> None:
    limits = [
        *(1, 8, 9, 20, 33, 34, 42, 43, 60, 90, 200, 300, 400, 500, 600, 700, 800, 900),
        *(n * 1000 for n in (1, 2, 4, 8, 16, 50, 100, 150, 200, 250, 300, 340, 360, 380, 400, 420, 440, 460, 480)),
        *(n * 1000 for n in (500, 520, 540, 560, 580, 600, 650, 700, 800, 1000)),
    ]
    support = Path(rpc_world.__file__).parent
    done = run_python(CUTS, server.endpoint, str(tiny_path), support, *map(str, limits), timeout=250)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) > len(limits) // 2


def test_the_process_ends_well_with_a_lost_server(server: rpc_world.Server, tiny_path: Path, run_python: Any) -> None:
    code = """
import os, signal, sys
from llamasmith import Model, Session
model = Model(sys.argv[1], rpc=[sys.argv[2]])
session = Session(model, n_threads=1)
session.decode([1, 2, 3])
os.kill(int(sys.argv[3]), signal.SIGKILL)
"""
    with rpc_world.server("--port", "0") as own:
        done = run_python(code, tiny_path, own.endpoint, str(own.process.pid))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_leaves_the_connection_alone(server: rpc_world.Server, tiny_path: Path, run_python: Any) -> None:
    code = """
import os, sys, warnings
from llamasmith import Model, Session
from llamasmith.errors import ForkedProcess
warnings.simplefilter("ignore")
model = Model(sys.argv[1], rpc=[sys.argv[2]])
session = Session(model, n_threads=1)
session.decode([1, 2, 3])
pid = os.fork()
if pid == 0:
    try:
        Model(sys.argv[1], rpc=[sys.argv[2]])
    except ForkedProcess:
        del session, model
        os._exit(7)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), session.decode([4]).shape[0] > 0)
"""
    done = run_python(code, tiny_path, server.endpoint)
    assert (done.returncode, done.stdout.split()) == (0, ["7", "True"]), done.stderr


# Addresses


@pytest.mark.parametrize(
    ("rpc", "error", "message"),
    [
        (["localhost"], InvalidOption, r"has no port\. Write host:port"),
        (["127.0.0.1:"], InvalidOption, r"has the port ''\. Allowed: 1 to 65535"),
        (["127.0.0.1:http"], InvalidOption, "has the port 'http'"),
        (["127.0.0.1:0"], InvalidOption, "Allowed: 1 to 65535"),
        (["127.0.0.1:65536"], InvalidOption, "Allowed: 1 to 65535"),
        (["127.0.0.1:-1"], InvalidOption, "Allowed: 1 to 65535"),
        (["127.0.0.1:\u0665"], InvalidOption, "Allowed: 1 to 65535"),
        ([":50052"], InvalidOption, "names the host ''"),
        (["http://127.0.0.1:50052"], InvalidOption, "IPv4 only|names the host"),
        (["a b:50052"], InvalidOption, "names the host 'a b'"),
        (["a\0b:50052"], InvalidOption, "names the host"),
        (["[::1]:50052"], InvalidOption, r"IPv6 address \[::1\]"),
        (["::1:50052"], InvalidOption, "IPv6 address"),
        (["no-such-host.invalid:50052"], RpcError, "has no IPv4 address"),
        (["x" * 300 + ":50052"], RpcError, "has no IPv4 address"),
        (["127.0.0.1:50052", "localhost:50052"], InvalidOption, "twice: 127.0.0.1:50052 and localhost:50052"),
        ([f"127.0.0.1:{port}" for port in range(1000, 1001 + MAX_SERVERS)], InvalidOption, "Allowed: at most 16"),
        ([50052], TypeError, "must be a str, not int"),
    ],
)
def test_bad_addresses(tiny_path: Path, rpc: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Model(tiny_path, rpc=rpc)


def test_a_text_with_commas_is_a_list() -> None:
    assert endpoints("127.0.0.1:50052, localhost:50053,") == ["127.0.0.1:50052", "127.0.0.1:50053"]
    assert endpoints("") == []


def test_a_missing_model_is_told_before_anybody_is_called() -> None:
    with pytest.raises(ModelNotFound):
        Model("/no/such.gguf", rpc=["127.0.0.1:1"])


def refused(tiny_path: Path, address: str) -> str:
    with pytest.raises(RpcError) as caught:
        Model(tiny_path, rpc=[address])
    assert address in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    return str(caught.value)


def test_nobody_listens(tiny_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        for _ in range(2):
            assert "nobody listens there. Start one there with: llamasmith rpc-server" in refused(tiny_path, address)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (rpc_world.speak_http, r"no RPC server of protocol version \d"),
        (lambda connection: connection.close(), r"no RPC server of protocol version \d"),
        (rpc_world.listen, "does not greet within 5 s"),
        (lambda connection: rpc_world.greet(connection, 6, 0, 0), r"speaks version 6\.0\.0 .* this client 7\.0\.0"),
        (lambda connection: rpc_world.greet(connection, 7, 9, 0), r"speaks version 7\.9\.0"),
        (lambda connection: rpc_world.greet(connection, 7, 0, 0), "it greets, and then ends the connection"),
    ],
    ids=["http", "closes", "silent", "older", "newer", "greets and goes"],
)
def test_something_else_listens(tiny_path: Path, answer: Any, message: str) -> None:
    with rpc_world.listener(answer) as address:
        found = refused(tiny_path, address)
    assert re.search(message, found), found


def test_a_server_with_another_client_says_so(tiny_path: Path) -> None:
    with rpc_world.server("--port", "0") as server:
        host, _, port = server.endpoint.rpartition(":")
        with socket.create_connection((host, int(port))):
            assert "serves another client" in refused(tiny_path, server.endpoint)
        with Model(tiny_path, rpc=[server.endpoint]) as model, session_of(model) as session:
            assert session.generate(PROMPT, max_tokens=2, **GREEDY).tokens


# Being a server


def test_it_listens_on_loopback_and_says_what_it_lends() -> None:
    with rpc_world.server("--port", "0") as server:
        assert server.endpoint.startswith("127.0.0.1:")
        assert server.process.stdout is not None
        lent = server.process.stdout.readline()
        assert lent.startswith("Lends ")
        assert "MiB free" in lent
        assert rpc_world.interrupt(server.process, signal.SIGTERM) == -signal.SIGTERM
        assert server.process.stderr is not None
        assert "WARNING" not in server.process.stderr.read()


def test_ctrl_c_ends_it_while_it_serves(tiny_path: Path) -> None:
    with rpc_world.server("--port", "0") as server, Model(tiny_path, rpc=[server.endpoint]):
        assert rpc_world.interrupt(server.process, signal.SIGINT) == -signal.SIGINT


def test_beyond_loopback_it_warns() -> None:
    with rpc_world.server("--host", "0.0.0.0", "--port", "0", wait=False) as server:
        server.kill()
        assert server.process.stderr is not None
        warning = server.process.stderr.read()
    assert "WARNING" in warning
    assert "Never expose the RPC server to an open network" in warning


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RpcError, match=rf"Cannot listen at 127.0.0.1:{port}: Address already in use.* --port"):
            RpcServer.open(port=port)


def test_a_cache_keeps_weights(tmp_path: Path, tiny_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    with (
        rpc_world.server("--port", "0", "--cache", str(folder)) as server,
        Model(tiny_path, rpc=[server.endpoint]) as model,
        session_of(model) as session,
    ):
        assert session.generate(PROMPT, max_tokens=2, **GREEDY).tokens
    assert folder.is_dir()  # tensors of this model are too small to be kept


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"port": 65536}, InvalidOption, r"port is 65536\. Allowed: 0 to 65535"),
        ({"port": -1}, InvalidOption, "port is -1"),
        ({"threads": 0}, InvalidOption, "is 0. Allowed: 1"),
        ({"host": "::1"}, InvalidOption, "IPv4 only"),
        ({"host": ""}, InvalidOption, "names the host ''"),
        ({"host": "no-such-host.invalid"}, RpcError, "has no IPv4 address"),
        ({"host": "192.0.2.1", "port": 0}, RpcError, "Cannot listen at 192.0.2.1:0: Cannot assign"),
        ({"cache": __file__, "port": 0}, InvalidOption, "is no folder"),
    ],
)
def test_bad_options_of_a_server(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RpcServer.open(**options)
