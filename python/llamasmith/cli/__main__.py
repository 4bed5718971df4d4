"""The command ``llamasmith``: a table of contents. Each command lives in a module of its own."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..errors import LlamaError
from .ab import ab
from .chat import chat
from .console import print_error
from .doctor import doctor
from .fit import fit
from .generate import generate
from .lab import app as lab
from .patches import app as patches
from .pull import pull
from .rpc_server import rpc_server

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Turns the package's own errors into one paragraph; any other exception is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LlamaError as error:
            if ctx.params.get("debug") or os.environ.get("LLAMASMITH_DEBUG", "0") not in ("", "0"):
                raise
            print_error(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


app = typer.Typer(
    name="llamasmith",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="llama.cpp built your way: pinned, patched, measured on this machine.",
    epilog="Start with: llamasmith doctor; llamasmith pull smollm2-135m; llamasmith generate -m smollm2-135m 'Once'",
)
app.command()(doctor)
app.command()(pull)
app.command()(fit)
app.command()(generate)
app.command()(chat)
app.command()(ab)
app.command()(rpc_server)
app.add_typer(lab)
app.add_typer(patches)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"llamasmith {version('llamasmith')}")
        except PackageNotFoundError:
            typer.echo("llamasmith, from a source tree that is not installed")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Errors with a traceback; also LLAMASMITH_DEBUG=1.")] = False,
) -> None:
    """Options of all commands."""


def main() -> None:
    """The entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without some character is no reason to stop
    app()


if __name__ == "__main__":
    main()
