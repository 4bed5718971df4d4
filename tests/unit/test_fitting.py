"""Fit to memory: the search in made-up machines, the sizes against those of models that are really loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llamasmith import Fit, Model, Session, fit, fitting
from llamasmith.backends import Device
from llamasmith.cli.__main__ import app
from llamasmith.errors import InvalidOption, ModelNotFound, NotEnoughMemory
from llamasmith.fit_search import Limits, Plan, Question, Usage, search
from llamasmith.fitting import HOST, MemoryUse, experts_on_host
from llamasmith.host_memory import HostMemory

if TYPE_CHECKING:
    from pathlib import Path

HUGE = 2**60


@dataclass(frozen=True)
class World:
    """A model of equal layers on one GPU: bytes of a layer, of its experts, of a token in a layer, of computing."""

    layer: int = 100
    experts: int = 0
    token: int = 1
    compute: int = 50
    n_layers: int = 11

    def probe(self, plan: Plan) -> Usage:
        there = plan.n_gpu_layers * (self.layer + self.token * plan.n_ctx)
        here = (self.n_layers - plan.n_gpu_layers) * (self.layer + self.experts)
        moved = min(plan.host_experts, plan.n_gpu_layers) * self.experts
        cache = (self.n_layers - plan.n_gpu_layers) * self.token * plan.n_ctx
        there += plan.n_gpu_layers * self.experts - moved
        return Usage({"GPU": there + self.compute if plan.n_gpu_layers else 0}, cache, here + moved)

    def ask(self, gpu: int | None, host: int = HUGE, n_ctx_min: int = 256, n_ctx_max: int = 1024) -> Any:
        limits = Limits({} if gpu is None else {"GPU": gpu}, host)
        experts = self.n_layers - 1 if self.experts else 0
        question = Question(0 if gpu is None else self.n_layers, experts, n_ctx_min, n_ctx_max)

        def probe(plan: Plan) -> Usage:
            usage = self.probe(plan)
            return usage if gpu is not None else Usage({}, usage.host, usage.mapped)

        return search(probe, limits, question)


def test_all_fits() -> None:
    found = World().ask(HUGE)
    assert (found.fits, found.plan) == (True, Plan(1024, 11))


def test_a_shorter_context_rather_than_fewer_layers() -> None:
    found = World().ask(11 * (100 + 768) + 50)
    assert found.plan == Plan(768, 11)
    found = World().ask(11 * (100 + 768) + 49)
    assert found.plan == Plan(512, 11)
    assert found.reasons["n_ctx"] == "the most that fits, of 1024"


def test_fewer_layers_where_the_shortest_context_does_not_fit() -> None:
    found = World().ask(7 * (100 + 256) + 50)
    assert found.plan == Plan(256, 7)
    assert World().ask(40).plan == Plan(1024, 0)  # nothing on the GPU, so the context may be as long as it likes


def test_experts_leave_before_layers() -> None:
    world = World(experts=1000)
    everything = 11 * (100 + 256 + 1000) + 50
    assert world.ask(everything).plan == Plan(256, 11)
    found = world.ask(everything - 1)
    assert found.plan == Plan(256, 11, 1)
    assert "first 1 of 10" in found.reasons["placement"]
    assert world.ask(everything - 9001).plan.host_experts == 10
    assert world.ask(2000).plan == Plan(256, 5, 10)  # all experts with the CPU, and too many layers still


def test_on_the_cpu_alone() -> None:
    world = World()
    weights = 11 * 100
    found = world.ask(None, host=weights + 11 * 512)
    assert (found.plan, found.weights_in_memory) == (Plan(512, 0), True)
    found = world.ask(None, host=11 * 300)  # the weights beside it would leave no room for 256 tokens
    assert (found.plan, found.weights_in_memory, found.fits) == (Plan(256, 0), False, True)
    found = world.ask(None, host=11 * 255)
    assert not found.fits
    assert found.usage.host == 11 * 256


def test_a_context_that_is_given_is_not_changed() -> None:
    assert World().ask(HUGE, n_ctx_min=700, n_ctx_max=700).plan == Plan(700, 11)
    assert World().ask(11 * 799, n_ctx_min=700, n_ctx_max=700).plan.n_gpu_layers == 10
    assert World().ask(HUGE, n_ctx_min=300, n_ctx_max=700).plan == Plan(700, 11)


@given(
    gpu=st.integers(0, 30_000), host=st.integers(0, 30_000), experts=st.sampled_from([0, 700]), low=st.integers(1, 900)
)
def test_what_is_found_fits_and_nothing_longer_does(gpu: int, host: int, experts: int, low: int) -> None:
    world = World(experts=experts)
    found = world.ask(gpu, host, n_ctx_min=low)
    usage = world.probe(found.plan)

    def ok(of: Usage) -> bool:
        mapped = of.mapped if found.weights_in_memory else 0
        return of.devices["GPU"] <= gpu and of.host + mapped <= host

    if not found.fits:
        return
    assert ok(usage)
    assert low <= found.plan.n_ctx <= 1024
    if found.plan.n_ctx + 256 <= 1024:
        assert not ok(world.probe(Plan(found.plan.n_ctx + 256, found.plan.n_gpu_layers, found.plan.host_experts)))


def by_name(rows: list[Any], field: str) -> int:
    return sum(row[field] for row in rows)


@pytest.mark.parametrize("which", ["tiny_path", pytest.param("smollm2_path", marks=pytest.mark.model)])
@pytest.mark.parametrize("load_mode", ["none", "auto"])
def test_the_prediction_is_what_a_loaded_model_takes(
    which: str, load_mode: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(which)
    found = fit(path, n_ctx=512, load_mode=load_mode, n_ubatch=64, margin=0)
    assert found.n_ctx == 512
    (host,) = found.memory
    with Model(path, **found.model_options) as model, Session(model, **found.session_options) as session:
        real = session.memory_breakdown()
    assert host.context == by_name(real, "context") > 0
    assert host.compute == by_name(real, "compute") > 0
    weights = by_name(real, "model")
    if load_mode == "none":
        assert (host.weights, host.mapped) == (weights, 0)
    else:  # what is mapped is a stretch of the file, with what lies between its tensors
        assert host.mapped > 0
        assert host.weights + host.mapped <= weights <= host.weights + path.stat().st_size


def test_the_longest_context_that_fits(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the memory that 256 tokens need, and with one byte less."""
    small = fit(tiny_path, n_ctx=256, margin=0).memory[0]
    needed = small.needed + small.mapped
    assert fit(tiny_path, margin=0).n_ctx == 512  # what it was trained with
    monkeypatch.setattr(fitting, "host_memory", lambda: HostMemory(needed, "a test"))
    found = fit(tiny_path, n_ctx_min=1, margin=0)
    assert (found.n_ctx, found.weights_in_memory) == (256, True)
    assert found.reasons["CPU"].endswith("a test")
    monkeypatch.setattr(fitting, "host_memory", lambda: HostMemory(needed - 1, "a test"))
    found = fit(tiny_path, n_ctx=256, margin=0)
    assert not found.weights_in_memory
    assert "disk" not in found.call
    assert found.reasons["weights"]
    monkeypatch.setattr(fitting, "host_memory", lambda: HostMemory(small.needed - 1, "a test"))
    with pytest.raises(NotEnoughMemory, match=r"tiny.gguf does not fit with n_ctx=256 .*CPU needs .* MiB of .*a test"):
        fit(tiny_path, n_ctx=256, margin=0)


def test_where_the_host_says_nothing(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "host_memory", lambda: None)
    assert fit(tiny_path).n_ctx == 512


GPU = Device("GPU0", "made up", "gpu", memory_free=600, memory_total=1000, backend="X")


def made_up(found: Any, path: Path, monkeypatch: pytest.MonkeyPatch, table: tuple[Device, ...]) -> None:
    """As if the model lay on these devices, a layer's sizes being 100 bytes and a token of context each."""

    def rows(trial: Any, plan: Plan) -> dict[str, MemoryUse]:
        world = World(compute=0, n_layers=trial.n_layers, token=0)
        usage = world.probe(plan)
        share = usage.devices["GPU"] // max(1, len(trial.devices))
        return {
            HOST: MemoryUse(HOST, 0, 0, usage.host, usage.mapped, 0, 0),
            **{name: MemoryUse(name, 0, 0, share, 0, 0, 0) for name in trial.devices},
        }

    real = fitting._Trial.__init__

    def init(trial: Any, *args: Any) -> None:
        real(trial, *args)
        trial.devices = {device.name: device.memory_free for device in table}

    monkeypatch.setattr(fitting._Trial, "__init__", init)
    monkeypatch.setattr(fitting._Trial, "rows", rows)


def test_on_a_gpu(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(None, tiny_path, monkeypatch, (GPU,))
    found = fit(tiny_path, margin=100)
    assert (found.n_gpu_layers, found.n_ctx) == (-1, 512)
    assert [use.name for use in found.memory] == [HOST, "GPU0"]
    assert found.memory[1].needed == 300
    assert found.model_options == {"n_gpu_layers": -1}
    found = fit(tiny_path, margin=400)
    assert found.n_gpu_layers == 2
    assert found.call == f"Session(Model({str(tiny_path)!r}, n_gpu_layers=2), n_ctx=512)"
    assert fit(tiny_path, margin=0, n_gpu_layers=1).n_gpu_layers == 1
    found = fit(tiny_path, margin=0, n_gpu_layers=0)
    assert found.n_gpu_layers == 0
    assert found.reasons["n_gpu_layers"] == "as asked for"


def test_experts_are_named_by_a_placement(tiny_path: Path) -> None:
    placement = experts_on_host(3)
    assert placement == {r"blk\.(0|1|2)\.ffn_(up|down|gate|gate_up)_(ch|)exps": "CPU"}
    assert experts_on_host(0) == {}
    assert len(next(iter(experts_on_host(100)))) < 512  # llamasmith allows no longer patterns
    with Model(tiny_path, no_alloc=True, placement=placement):
        pass


def test_options_are_checked(tiny_path: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"n_ctx": 0}, "n_ctx is 0"),
        ({"n_ctx_min": 0}, "n_ctx_min is 0"),
        ({"margin": -1}, "margin is -1"),
        ({"n_gpu_layers": -2}, "n_gpu_layers is -2"),
        ({"load_mode": "fast"}, "load_mode is 'fast'"),
        ({"type_k": "f1"}, "type_k is 'f1'"),
        ({"tensor_split": [1.0] * 99}, "tensor_split"),
    ]
    for options, message in cases:
        with pytest.raises(InvalidOption, match=message):
            fit(tiny_path, **options)
    with pytest.raises(ModelNotFound):
        fit(tmp_path / "nothing.gguf")
    with pytest.raises(TypeError, match="no option 'n_cxt'"):
        fit(tiny_path, n_cxt=3)  # type: ignore[call-arg]


def test_options_come_back(tiny_path: Path) -> None:
    found: Fit = fit(tiny_path, n_ctx=300, type_k="f32", use_extra_bufts=False, max_forks=2, n_threads=1)
    assert found.model_options == {"use_extra_bufts": False}
    assert found.session_options == {"n_ctx": 300, "type_k": "f32", "max_forks": 2, "n_threads": 1}
    with Model(tiny_path, **found.model_options) as model, Session(model, **found.session_options) as session:
        assert session.n_ctx >= 300


def test_the_command(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "80"})
    result = runner.invoke(app, ["fit", str(tiny_path), "--ctx", "300", "--kv-type", "f32"])
    assert result.exit_code == 0, result.output
    assert "tiny.gguf" in result.stdout
    assert "n_ctx=300, type_k='f32', type_v='f32')" in result.stdout
    lines = result.stdout.splitlines()[:-1]
    assert max(map(len, lines)) <= 80
    monkeypatch.setattr(fitting, "host_memory", lambda: HostMemory(1000, "a test"))
    result = runner.invoke(app, ["fit", str(tiny_path)])
    assert result.exit_code == 1
    assert "does not fit" in result.stderr
