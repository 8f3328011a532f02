"""What a GPU does from decoder to encoder: transfers, decoders, engines, the face detector, a whole run.

Each piece measures in this process and returns what goes into the JSON; ``benchmarks.gpu`` runs them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

SIZE = (1920, 1080)
FRAMES, FRAMES_ON_CPU = 480, 24
SHOWN = 60
"""Frames of the clip that differ; the clip goes back and forth over them."""
PAPER_MS = {"idn": 25.0, "nar": 25.0, "pixelizer-block": 2.8, "pixelizer-pixel": 2.8}
"""Per 256x256 picture, Neurocomputing 513 (2022); NAR's paper gives none, IDN's is put beside it. A pixelizer
here reads the lattice of colours that is released of such a picture."""


def transfer() -> dict[str, Any]:
    """Frames to the device and back through ``pipeline.cuda``, as a run does it."""
    import torch

    from pipeline.cuda import place, to_device, to_host
    from pipeline.types import Colour, Frame

    device = place("auto")
    planes = tuple(
        torch.randint(0, 255, shape, dtype=torch.uint8)
        for shape in ((SIZE[1], SIZE[0]), *(((SIZE[1] // 2, SIZE[0] // 2),) * 2))
    )
    colour = Colour("bt709", "tv", "bt709", "bt709")
    items = [Frame(i, i, planes, "yuv420p", colour, Fraction(1, 25), key=False) for i in range(100)]
    list(to_device(items[:20], device))  # pinned memory is made on the first calls
    begun = perf_counter()
    there = list(to_device(items, device))
    _wait(device)
    up_s = perf_counter() - begun
    list(islice(to_host(there), 20))
    begun = perf_counter()
    for _ in to_host(there):
        pass
    down_s = perf_counter() - begun
    size = sum(plane.nbytes for plane in planes) * len(items)
    return {"device": str(device), "up_gb_s": size / up_s / 1e9, "down_gb_s": size / down_s / 1e9}


def decode() -> dict[str, Any]:
    """Decoding alone, every way that is here; the fastest one on a GPU is what a run is compared with."""
    import torch

    from pipeline.cuda import place, to_device
    from pipeline.decode import DecoderName, open_decoder
    from pipeline.decode.nvdec import NvdecDecoder
    from pipeline.decode.source import open_source

    clip, device = make_clip(), str(place("auto"))
    ways: dict[str, Callable[[], Iterator[Any]]] = {}

    def ours(where: str, name: DecoderName) -> Iterator[Any]:
        with open_decoder(clip, where, decoder=name) as decoder:
            yield from to_device(decoder.frames(), torch.device(where))

    def nvdec() -> Iterator[Any]:
        with NvdecDecoder(open_source(clip), device) as decoder:
            yield from decoder.frames()

    ways["pyav, CPU"] = lambda: ours("cpu", "pyav")
    if device != "cpu":
        ways["pyav, NVDEC"] = nvdec
        ways[f"pyav, sent to {device}"] = lambda: ours(device, "pyav")
        ways[f"dali, {device}"] = lambda: ours(device, "dali")
    results: dict[str, Any] = {}
    for name, way in ways.items():
        try:
            results[name] = _rate(way)
        except Exception as error:  # noqa: BLE001  recorded; the other ways go on
            results[name] = as_error(error)
    return {"frames": frames(), "fps": results}


def engines() -> dict[str, Any]:
    """Milliseconds per crop of every shipped network, at 128 px as shipped and at the papers' 256 px."""
    import torch

    from export.calibration import faces_or_noise
    from export.convert import export
    from export.graph_formats import example_inputs
    from export.networks import shipped
    from export.spec import Request
    from pipeline.cuda import place
    from pipeline.engines import open_engine

    device = place("auto")
    gpu = device.type == "cuda"
    results = []
    for net in [name for name in shipped() if name in PAPER_MS]:
        own_size = net.startswith("pixelizer")  # of its lattice, whatever the picture's is
        for size in (128,) if own_size else (128, 256):
            for target in ("torch", "onnx", "tensorrt", "tensorrt-rtx") if gpu else ("onnx",):
                row: dict[str, Any] = {"net": net, "size_px": size, "target": target}
                results.append(row)
                try:
                    precision = "fp16" if gpu else "fp32"
                    entry = export(Request(net, target, precision, size_px=size), faces_or_noise)  # type: ignore[arg-type]
                    with closing(open_engine(entry.file, device=str(device))) as engine:
                        row["parity"] = [str(record.psnr_db) for record in entry.report.parity]
                        for batch in (1, 4, 16) if gpu else (1,):
                            inputs = dict(
                                zip(("features", "mask"), example_inputs(engine.spec, batch), strict=True)
                            )
                            inputs = {name: x.to(device) for name, x in inputs.items()}
                            ms = _ms(partial(engine.infer, inputs), device) / batch / engine.spec.core
                            row[f"ms_per_crop_batch_{batch}"] = ms
                        row["engine"] = engine.name
                        best = min(value for key, value in row.items() if key.startswith("ms_"))
                        row["size_px"] = engine.spec.size_px
                        if size == 256 or own_size:
                            row["times_faster_than_paper"] = PAPER_MS[net] / best
                except Exception as error:  # noqa: BLE001  recorded; the other engines go on
                    row.update(as_error(error))
    return {"device": str(device), "torch": torch.__version__, "engines": results}


def faces() -> dict[str, Any]:
    """Milliseconds per look of the face finder."""
    from benchmarks.facefinders import measured
    from pipeline.cuda import place

    return measured(place("auto"), _ms)


def end_to_end() -> dict[str, Any]:
    """From the decoder to frames in the host's memory, encoding left out; then with it, stage by stage."""
    import torch

    from export.select import engine_for
    from pipeline.config import Given, Resolved, resolve
    from pipeline.decode import DecoderName
    from pipeline.errors import VidpipeError
    from pipeline.run.job import ReconstructJob
    from pipeline.run.lifecycle import device_for, opened
    from pipeline.run.reconstruct import Reconstruct, Reconstruction
    from vidpipe.bench import measure

    clip = make_clip()

    def with_decoder(name: DecoderName) -> Resolved:
        chosen = {"encode.preset": "ultrafast", "window.batch_frames": 32, "decode.decoder": name}
        return resolve({key: Given(value, "benchmark") for key, value in chosen.items()})

    settings = with_decoder("auto")
    device = device_for(settings.config)
    gpu = device.type == "cuda"
    network = engine_for("nar", "auto", settings.config.device)
    job = ReconstructJob(clip, clip.with_name("out.mp4"), overwrite=True, network=network)

    def run(decoder_name: DecoderName) -> tuple[float, Reconstruction]:
        with opened(Reconstruct(job, with_decoder(decoder_name))) as opened_run:
            work = opened_run.work
            begun = perf_counter()
            count = sum(1 for _ in work.frames())
            return count / (perf_counter() - begun), work

    run("auto")  # compiles
    fps, work = run("auto")
    exact: float | dict[str, str] | None = None
    if gpu:  # where auto is DALI if that decodes the clip
        try:
            exact = run("exact")[0]
        except VidpipeError as error:
            exact = as_error(error)
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if gpu else None
    report = measure(job, settings, 240)
    return {
        "device": str(device),
        "engine": work.stages.engine.name,
        "fps_without_encoding": fps,
        "fps_without_encoding_exact": exact,
        "frames_restored": work.recorder.frames_restored,
        "waits_s": work.times.waits_s(),
        "gpu_memory_mib": memory,
        "with_encoding": report.model_dump(mode="json"),
    }


def profile() -> dict[str, Any]:
    """Kernels, and what crosses to the host: by PyTorch's profiler on a GPU, by the pretended one without."""
    import torch

    from pipeline.cuda import place
    from tests.support.launches import counted_per_frame, covering_per_frame

    device = place("auto")
    if device.type != "cuda":
        clip = make_clip()
        larger = counted_per_frame(clip, "nar", frames=32, batch_frames=32)["per_frame"]["restore"]
        return {
            "device": "pretended",
            **counted_per_frame(clip, "nar"),
            "restore_in_batches_of_32": larger,
            "protect": covering_per_frame(clip),
        }
    from torch.profiler import ProfilerActivity

    with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        result = counted_per_frame(make_clip(), "nar", device)
    copies = [e for e in profiler.events() if "Memcpy DtoH" in e.name]
    kernels = profiler.key_averages()
    busiest = sorted(kernels, key=lambda e: -e.self_device_time_total)[:15]
    return {
        "device": str(device),
        **result,
        "copies_to_host": len(copies),
        "busiest": [
            {"name": e.key[:80], "ms": e.self_device_time_total / 1e3, "calls": e.count} for e in busiest
        ],
    }


def frames() -> int:
    """Of the clip: enough for a rate on a GPU, few on a CPU."""
    from pipeline.cuda import why_none

    return FRAMES_ON_CPU if why_none() else FRAMES


def make_clip() -> Path:
    """H.264, 1080p, one pixelated face that wanders; made once per machine."""
    import numpy as np

    from tests.support.clips import write_clip
    from tests.support.mosaics import fixed, pixelate, texture

    count = frames()
    shown = min(SHOWN, count)
    path = Path(tempfile.gettempdir()) / f"vidpipe-gpu-{os.getuid()}" / f"{SIZE[1]}-{count}.mp4"
    if path.is_file():
        return path
    path.parent.mkdir(exist_ok=True)
    wide = texture(SIZE[1] + 2 * SHOWN, SIZE[0] + 2 * SHOWN, seed=1)
    grey = np.full((SIZE[1] // 2, SIZE[0] // 2), 128, np.uint8)
    lumas = []
    for i in range(shown):
        luma = np.ascontiguousarray(wide[i : i + SIZE[1], 2 * i : 2 * i + SIZE[0]])
        box = (800 - 2 * i, 400 - i, 1100 - 2 * i, 700 - i)
        lumas.append(pixelate(luma, fixed(box, 30.0)))

    def draw(index: int, width: int, height: int, pix_fmt: str) -> list[Any]:
        at = index % (2 * shown)
        return [lumas[at if at < shown else 2 * shown - 1 - at], grey, grey]

    part = path.with_suffix(f".{os.getpid()}.mp4")
    options = {"preset": "veryfast", "crf": "20"}
    write_clip(part, frames=count, width=SIZE[0], height=SIZE[1], options=options, draw=draw)
    part.replace(path)
    return path


def _rate(way: Callable[[], Iterator[Any]]) -> float:
    """Frames per second, of the second run."""
    for _ in islice(way(), 30):
        pass
    begun = perf_counter()
    count = sum(1 for _ in way())
    return count / (perf_counter() - begun)


def _ms(call: Callable[[], Any], device: Any, rounds: int = 7) -> float:
    """Median wall-clock milliseconds of a call, the device waited for."""
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        _wait(device)
        begun = perf_counter()
        for _ in range(5):
            call()
        _wait(device)
        times.append((perf_counter() - begun) * 1000 / 5)
    return median(times)


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:400] if lines else ""


def as_error(error: BaseException) -> dict[str, str]:
    return {"error": f"{type(error).__name__}: {_line(error)}"}
