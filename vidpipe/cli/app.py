"""The list of commands."""

from __future__ import annotations

import typer

from vidpipe.cli.bench import bench
from vidpipe.cli.doctor import doctor
from vidpipe.cli.run import run

app = typer.Typer(
    name="vidpipe",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(bench)
app.command()(doctor)


@app.callback()
def version_and_help(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Reconstruct pixelated faces in video. What comes out is a model's guess, no evidence of identity."""
    if version:
        from vidpipe import __version__

        typer.echo(f"vidpipe {__version__}")
        raise typer.Exit
