"""Log lines on stderr, above the progress bar."""

from __future__ import annotations

import logging

from rich.console import Console

OURS = ("vidpipe", "pipeline", "export", "nets")


class _OnConsole(logging.Handler):
    """One unwrapped line per record, through the console that also draws the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        line = f"vidpipe: {record.levelname.lower()}: {record.getMessage()}"
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def show_log(console: Console, verbose: int, quiet: bool) -> None:
    """Warnings by default; ``verbose`` 1 adds what was chosen and why, 2 everything; ``quiet`` errors only."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = _OnConsole(console)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
