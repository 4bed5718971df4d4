"""Peers: what each takes of our settings, and what arms make of it."""

from __future__ import annotations

import pytest

from llamasmith.errors import InvalidOption
from llamasmith.lab.arm import parse_arm
from llamasmith.lab.keys import KEY_BY_WORD
from llamasmith.lab.peers import PEERS
from llamasmith.lab.plan import Metric, common_settings
from llamasmith.lab.worker.foreign import INSTALL, SETTINGS
from llamasmith.lab.worker.subjects import SUBJECTS

ENGINES = ("patched", "upstream")
DEFAULTS = common_settings([Metric("pp", 64)], n_threads=2)


def test_every_peer_is_a_subject_and_says_how_to_install_it() -> None:
    assert set(PEERS) == set(INSTALL) == set(SETTINGS) == set(SUBJECTS) - {"llamasmith"}
    assert all(command.startswith("pip install ") for command in INSTALL.values())


@pytest.mark.parametrize("name", PEERS)
def test_settings_are_keys_of_an_arm(name: str) -> None:
    assert {KEY_BY_WORD[word].scope for word in PEERS[name].settings} <= {"session", "model"}
    assert set(PEERS[name].values) <= PEERS[name].settings


def test_a_setting_is_taken_refused_or_taken_with_some_values() -> None:
    peer = PEERS["llama-cpp-python"]
    assert peer.takes("n_ctx", 256)
    assert peer.takes("flash_attn", "on")
    assert not peer.takes("flash_attn", "auto")
    assert not peer.takes("wait", "spin")
    assert peer.refusal("flash_attn", "on") is None
    assert peer.refusal("flash_attn", "auto") == "but llama-cpp-python takes it only as on or off."
    assert "It takes: flash_attn, n_batch, n_ctx" in str(peer.refusal("wait", "spin"))
    assert not PEERS["llama-bench"].takes("n_ctx", 256)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("peer=llama-cpp-python,flash_attn=auto", "takes it only as on or off"),
        ("peer=llama-cpp-python,wait=spin", "llama-cpp-python does not take here"),
        ("peer=transformers,n_ctx=512", "It takes: n_threads."),
        ("peer=llama-bench,engine=patched,n_ctx=512", "llama-bench does not take here"),
        ("peer=llama-bench", "engine=NAME. Engines: patched, upstream."),
        ("peer=xllamacpp,engine=patched", "brings its own"),
        ("peer=llama_cpp_python", "Did you mean 'llama-cpp-python'?"),
    ],
)
def test_what_a_peer_cannot_take_is_refused_before_anything_starts(words: str, says: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        parse_arm(words, ENGINES)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("words", "not_in_force"),
    [
        ("peer=llama-cpp-python", {"flash_attn", "use_extra_bufts"}),
        ("peer=xllamacpp", set()),
        ("peer=transformers", set(DEFAULTS) - {"n_threads"}),
        ("peer=llama-bench,engine=patched", {"n_ctx"}),
    ],
)
def test_defaults_that_a_peer_cannot_take_are_not_recorded(words: str, not_in_force: set[str]) -> None:
    arm = parse_arm(words, ENGINES).with_defaults(DEFAULTS)
    assert set(DEFAULTS) - set(arm.settings) == not_in_force
    assert all(DEFAULTS[name] == value for name, value in arm.settings.items())


def test_a_default_that_a_peer_can_take_is_in_force() -> None:
    arm = parse_arm("peer=llama-cpp-python", ENGINES).with_defaults({**DEFAULTS, "flash_attn": "off"})
    assert arm.settings["flash_attn"] == "off"
