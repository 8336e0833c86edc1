"""The command line: glue between arguments, studies and files; no maths. One file a command."""

from __future__ import annotations

import os
import sys

try:
    import rich  # noqa: F401
    import typer
except ImportError as error:
    raise SystemExit(f"the command line needs {error.name}; install gdx with its extra 'lab'") from error

import gdx
from gdx.cli.atlas import atlas
from gdx.cli.bifurcation import bifurcation
from gdx.cli.console import say, speak_plainly
from gdx.cli.edge import edge
from gdx.cli.listing import list_names
from gdx.cli.phase_map import draw_map
from gdx.cli.reproduce import reproduce
from gdx.cli.stability import stability
from gdx.cli.trajectory import trajectory
from gdx.cli.transfer import transfer
from gdx.cli.transition import transition
from gdx.cli.verify import verify

__all__ = ["app", "main"]

SAYS = (gdx.__doc__ or "").partition("\n")[0]
"""The rest of it is for Python."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=SAYS)
app.command("list")(list_names)
app.command()(transition)
app.command()(trajectory)
app.command()(edge)
app.command()(bifurcation)
app.command("map")(draw_map)
app.command()(stability)
app.command()(transfer)
app.command()(atlas)
app.command()(verify)
app.command()(reproduce)


INTERRUPTED = 130


def main() -> None:
    """Run the command line; wrong arguments are one sentence and exit code 2, Ctrl-C is 130."""
    speak_plainly()
    try:
        app()
    except KeyboardInterrupt:
        say("interrupted: nothing was finished yet")
        _leave_at_once()
    except SystemExit as left:
        if left.code == INTERRUPTED:
            _leave_at_once()
        raise


def _leave_at_once():
    """Exit without tearing XLA down: where it is compiling in threads of its own, that crashes or hangs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


@app.callback()
def _root() -> None:
    """Map where training stops converging."""
    speak_plainly()
