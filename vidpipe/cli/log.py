"""Log lines on stderr, above the progress bar."""

from __future__ import annotations

import logging

from rich.console import Console

from pipeline.text import printable

OURS = ("vidpipe", "pipeline", "export", "train", "nets")


class _OnConsole(logging.Handler):
    """One unwrapped line per record, through the console that also draws the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        line = f"vidpipe: {record.levelname.lower()}: {printable(record.getMessage())}"
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def prepare(console: Console, verbose: int, quiet: bool) -> None:
    """What a command that works on video sets for its process: log lines, and threads of PyTorch.

    The stages call PyTorch on a few cells at a time, where a second thread only waits: on two busy cores
    it made ``crop`` 25 times slower. Networks run on their engine's own threads.
    """
    import torch

    torch.set_num_threads(1)
    _show_log(console, verbose, quiet)


def _show_log(console: Console, verbose: int, quiet: bool) -> None:
    """Warnings; with ``verbose`` 1 also what was chosen and why, 2 everything; with ``quiet`` errors only."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = _OnConsole(console)
    handler.setLevel(level)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
