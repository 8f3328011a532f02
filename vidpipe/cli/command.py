"""A command whose options are the fields of a dataclass, so that commands share options by inheritance."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from vidpipe.cli.flags import refuse_other_modes
from vidpipe.cli.options import SECTIONS

FlagsT = TypeVar("FlagsT")


class SectionedCommand(TyperCommand):
    """Its help lists options by section, their ``rich_help_panel``, in the order of ``options.SECTIONS``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Called by the parser's library. Raises UsageError for an option of another mode."""
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            refuse_other_modes(str(getattr(error, "option_name", "")), str(self.name))
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Called by the parser's library."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                name = getattr(param, "rich_help_panel", None)
                plain = "Arguments" if param.param_type_name == "argument" else "Options"
                sections[name or plain].append(record)
        for title, rows in ((title, rows) for title, rows in sections.items() if rows):
            with formatter.section(title):
                formatter.write_dl(rows)


def command(
    name: str, kind: type[FlagsT], body: Callable[[typer.Context, FlagsT], None], text: str
) -> Callable[..., None]:
    """A function for ``Typer.command``: ``body`` gets the flags as a ``kind``.

    ``kind`` is a dataclass whose annotations are option types; ``text`` is the command's help.
    """

    def run(context: typer.Context, **flags: object) -> None:
        body(context, kind(**flags))

    hints = get_type_hints(kind, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(kind)  # type: ignore[arg-type]  # a dataclass, which type[T] cannot say
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    run.__name__, run.__doc__ = name, text
    run.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    run.__annotations__ = {"context": typer.Context, **{p.name: p.annotation for p in parameters}}
    return run
