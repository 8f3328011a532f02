"""What TensorRT engines take on a GPU by the batches that they are for, and how long they take to build.

``python -m benchmarks.engine_memory`` builds every shipped network at 128 and 256 px in half precision with
TensorRT for RTX, as ``vidpipe export`` does, for all of its usual GPUs, and prints a table. No GPU is needed:
the memory is what the builder says that a context will allocate for activations.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from export import tensorrt_worker
from export.calibration import faces_or_noise
from export.convert import export
from export.networks import find, shipped, spec_of
from export.spec import DEFAULT_CAPABILITIES, TENSORRT_BATCH, Batch, Request
from export.tensorrt_worker import Job, build
from pipeline.engines import tensorrt_library
from pipeline.engines.spec import input_shapes

BATCHES = (Batch(1, 1, 1), Batch(4, 4, 4), TENSORRT_BATCH, Batch(1, 4, 16), Batch(16, 16, 16))
SIZES_PX = (128, 256)
_SAID = re.compile(r"Total Activation Memory: (\d+) bytes")


class _Heard(logging.Handler):
    """Keeps what the builder says of memory."""

    bytes: int = 0

    def emit(self, record: logging.LogRecord) -> None:
        if found := _SAID.search(record.getMessage()):
            self.bytes = int(found.group(1))


def measured(net: str, size_px: int, batch: Batch, capabilities: Sequence[str]) -> tuple[int, float]:
    """Bytes of a context's activations, and seconds of the build, the ONNX file left out."""
    graph = export(Request(net, "onnx", "fp16", size_px=size_px), faces_or_noise).file
    checkpoint = find(net)
    spec = spec_of(
        checkpoint.net, checkpoint.sha256, size_px, "fp16", (batch.min, batch.max), checkpoint.version
    )
    sizes = [input_shapes(spec, count) for count in (batch.min, batch.opt, batch.max)]
    heard, told = _Heard(), logging.getLogger(tensorrt_library.__name__)
    told.addHandler(heard)
    told.setLevel(logging.DEBUG)
    told.propagate = False
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            library="tensorrt_rtx",
            graph=graph,
            plan=Path(folder) / "plan",
            shapes={name: (sizes[0][name], sizes[1][name], sizes[2][name]) for name in sizes[0]},
            float32=False,
            capabilities=tuple(capabilities),
            version_compatible=False,
            hardware="none",
            timing_cache=None,
        )
        begun = perf_counter()
        try:
            build(job, threading.Event())
        finally:
            told.removeHandler(heard)
        return heard.bytes, perf_counter() - begun


def main() -> None:
    """Prints the table, and the seconds of all builds with the batches that a run asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", nargs="*", default=list(shipped()))
    nets: list[str] = parser.parse_args().net
    tensorrt_worker._OUT = os.open(os.devnull, os.O_WRONLY)  # its progress, which a parent would read
    heads = [f"MiB, {batch}" for batch in BATCHES]
    print(
        f"| net | px | {' | '.join(heads)} | s, {TENSORRT_BATCH} |", "|---" * (len(heads) + 3) + "|", sep="\n"
    )
    whole_s = 0.0
    for net in nets:
        for size_px in SIZES_PX[:1] if net.startswith("pixelizer") else SIZES_PX:
            cells = []
            for batch in BATCHES:
                taken, seconds = measured(net, size_px, batch, DEFAULT_CAPABILITIES)
                cells.append(f"{taken / 2**20:.0f}")
                if batch == TENSORRT_BATCH:
                    usual_s = seconds
            whole_s += usual_s
            print(f"| {net} | {size_px} | {' | '.join(cells)} | {usual_s:.1f} |", flush=True)
    print(f"\nAll with {TENSORRT_BATCH}: {whole_s:.0f} s.")


if __name__ == "__main__":
    main()
