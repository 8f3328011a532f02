"""``vidpipe doctor [--json]``: what works on this machine, proven by trying it, and how to get the rest."""

from __future__ import annotations

import dataclasses
import json

import typer

from vidpipe.cli.options import Json

CANNOT_RUN = 5


def doctor(as_json: Json = False) -> None:
    """Try decoders, encoders, engines and devices. Exit code 5 when `vidpipe run` could not work here."""
    from vidpipe.doctor import examine, works

    checks = []
    for check in examine():
        checks.append(check)
        if not as_json:
            mark = "ok  " if check.ok else "MISS" if check.needed else "-   "
            typer.echo(f"{mark} {check.group:<7} {check.name:<24} {check.detail}")
            if check.fix:
                typer.echo(f"{'':<37} fix: {check.fix}")
    able = works(checks)
    if as_json:
        typer.echo(json.dumps({"works": able, "checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        typer.echo("vidpipe run works here" if able else "vidpipe run cannot work here: see the lines above")
    if not able:
        raise typer.Exit(CANNOT_RUN)
