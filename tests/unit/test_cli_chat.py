"""`llamasmith chat`, on the real model and on one that cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from llamasmith.cli.__main__ import app

if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str, lines: str) -> tuple[int, str]:
    result = CliRunner(env={"NO_COLOR": "1", "COLUMNS": "80"}).invoke(app, ["chat", *words], input=lines)
    return result.exit_code, result.output


def test_each_line_gets_an_answer(smollm2_path: Path) -> None:
    how = ("-m", str(smollm2_path), "-n", "8", "--temperature", "0", "--n-ctx", "512")
    status, one = run(*how, lines="Say yes.\n")
    assert status == 0
    assert one.strip()
    status, two = run(*how, lines="Say yes.\n\nAnd now no.\n")
    assert status == 0
    assert two.startswith(one)
    assert len(two) > len(one)
    status, other = run(*how, "--system", "You speak French only.", lines="Say yes.\n")
    assert status == 0
    assert other != one


def test_a_model_that_cannot_chat_says_so_at_once(tiny_path: Path) -> None:
    status, output = run("-m", str(tiny_path), lines="never read\n")
    assert status == 1
    assert "has no chat template" in output
