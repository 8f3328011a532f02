"""Speed and memory of ``vidpipe run`` as ratios, measured side by side in one go.

``python -m benchmarks.bench_run`` writes benchmarks/results/bench_run.json and prints it. What is compared:

- overlap: end to end against the slowest stage alone, on a 720p clip with one face (wanted: 0.85 at least).
  Alone: fed from memory, with all cores. As the stages share the cores end to end, the sum of their processor
  times bounds the ratio (``bound``): where that is below 0.85, only cheaper stages or more cores can help;
- memory: peak of a process on 10 minutes of 720p against 1 minute (1.1 at most), and against the bound;
- plain: frames without a mosaic against decoding and encoding with PyAV and nothing else (1.3 at most).

Every pair is measured in turns, and the median of the turns' ratios is kept, as the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import av
import cv2
import numpy as np
import torch
from av.video.frame import PictureType
from numpy.typing import NDArray
from skimage.data import astronaut

from export.select import default_net, engine_file
from pipeline.config import Given, Resolved, resolve
from pipeline.decode.source import probe
from pipeline.engines.spec import read_onnx
from pipeline.run.job import ReconstructJob
from pipeline.run.plan import reconstruct_plan
from pipeline.run.reconstruct import reconstruct
from tests.support.mosaics import fixed, pixelate
from vidpipe.bench import measure

WIDTH, HEIGHT = 1280, 720
RATE = Fraction(25)
RESULTS = Path(__file__).parent / "results" / "bench_run.json"
CODEC = {"encode.codec": "libx264", "encode.crf": 18, "encode.preset": "medium"}
PITCH_PX = 20.0


def pictures(count: int, face: bool) -> Iterator[NDArray[np.uint8]]:
    """A camera that circles over a portrait; with ``face`` the face is pixelated, 12 cells across."""
    portrait = astronaut()
    for index in range(count):
        angle = 2 * np.pi * index / 150
        scale = 2.6 + 0.1 * np.sin(angle)
        x, y = 225 + 12 * np.cos(angle), 150 + 7 * np.sin(2 * angle)
        camera = np.array([[scale, 0, WIDTH / 2 - scale * x], [0, scale, HEIGHT / 2 - scale * y]])
        seen = cv2.warpAffine(portrait, camera, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        if face:
            x0, y0 = np.rint(camera @ (176, 68, 1)).astype(int)
            x1, y1 = np.rint(camera @ (268, 176, 1)).astype(int)
            seen = pixelate(np.asarray(seen, np.uint8), fixed((int(x0), int(y0), int(x1), int(y1)), PITCH_PX))
        yield np.asarray(seen, np.uint8)


def write_clip(path: Path, count: int, face: bool, rate: Fraction = RATE) -> None:
    """``count`` pictures as H.264 of a quality as cameras give."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures(count, face):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def repeat_clip(source: Path, target: Path, times: int) -> None:
    """The packets of a clip ``times`` over, without coding anything."""
    with av.open(target, "w") as out:
        stream, length = None, 0
        for turn in range(times):
            with av.open(source) as container:
                video = container.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(video)
                    length = video.duration or 0
                for packet in container.demux(video):
                    if packet.dts is not None and packet.pts is not None:
                        packet.pts += turn * length
                        packet.dts += turn * length
                        packet.stream = stream
                        out.mux(packet)


def plain(source: Path, target: Path) -> None:
    """Decoding and encoding with PyAV and the same settings, and nothing in between."""
    with av.open(source) as reader, av.open(target, "w") as writer:
        video = reader.streams.video[0]
        video.thread_type = "AUTO"
        options = {"crf": str(CODEC["encode.crf"]), "preset": str(CODEC["encode.preset"])}
        out = writer.add_stream("libx264", rate=video.average_rate, options=options)
        out.width, out.height, out.pix_fmt = video.width, video.height, video.pix_fmt
        out.codec_context.thread_type = "AUTO"
        out.codec_context.time_base = Fraction(1) / RATE
        for frame in reader.decode(video):
            frame.pict_type = PictureType.NONE
            writer.mux(out.encode(frame))
        writer.mux(out.encode(None))


def overlap(folder: Path, network: Path, settings: Resolved, frames: int, turns: int) -> dict[str, object]:
    """End to end over the slowest stage alone."""
    clip = folder / "face.mp4"
    write_clip(clip, frames, face=True)
    reports = [measure(ReconstructJob(clip, clip, network=network), settings, frames) for _ in range(turns)]
    shares = [report.share_of_slowest for report in reports]
    return {
        "ratio": round(median(shares), 3),
        "wanted": ">= 0.85",
        "turns": [round(share, 3) for share in shares],
        "bound": round(median(report.bound for report in reports), 3),
        "share_of_bound": round(median(report.share_of_bound for report in reports), 3),
        "cores": reports[-1].cores,
        "last": json.loads(reports[-1].model_dump_json()),
    }


def without_mosaic(
    folder: Path, network: Path, settings: Resolved, frames: int, turns: int
) -> dict[str, object]:
    """Our seconds over PyAV's, on frames that have no mosaic."""
    clip = folder / "clear.mp4"
    write_clip(clip, frames, face=False)
    streaming, whole, processor = [], [], []
    for turn in range(turns):
        begun, worked = perf_counter(), process_time()
        plain(clip, folder / "plain.mp4")
        plain_s, plain_cpu_s = perf_counter() - begun, process_time() - worked
        job = ReconstructJob(clip, folder / f"ours{turn}.mp4", network=network)
        worked = process_time()
        report = reconstruct(job, settings, lambda _: None)
        processor.append((process_time() - worked) / plain_cpu_s)
        assert report.frames_restored == 0
        streaming.append(report.streaming_s / plain_s)
        whole.append(report.elapsed_s / plain_s)
    return {
        "ratio": round(median(streaming), 3),
        "wanted": "<= 1.3",
        "turns": [round(ratio, 3) for ratio in streaming],
        "with_probe_comparison_and_hashes": round(median(whole), 3),
        "of_processor_time_with_all_that": round(median(processor), 3),
        "frames": frames,
    }


def peak_bytes(clip: Path, target: Path, network: Path) -> int:
    """Peak resident memory of a process of its own that runs the clip."""
    command = [sys.executable, "-m", "benchmarks.bench_run", "--one", str(clip), str(target), str(network)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def own_peak_bytes() -> int:
    """Linux counts what the parent held at the fork into ``ru_maxrss``; /proc counts from the exec on."""
    status = Path("/proc/self/status")
    if not status.exists():
        import resource  # noqa: PLC0415  not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024


def memory(folder: Path, network: Path, settings: Resolved, minute_frames: int) -> dict[str, object]:
    """Peak of ten minutes over the peak of one, and over the bound for one face."""
    unit, minute, long = folder / "unit.mp4", folder / "minute.mp4", folder / "long.mp4"
    write_clip(unit, minute_frames // 6, face=True, rate=Fraction(minute_frames, 60))
    repeat_clip(unit, minute, 6)
    repeat_clip(unit, long, 60)
    peaks = [peak_bytes(clip, folder / f"out_{clip.name}", network) for clip in (minute, long)]
    job = ReconstructJob(long, long, network=network)
    plan = reconstruct_plan(job, probe(long), read_onnx(network), settings.config)
    bound = plan.memory.total_bytes(faces=1)
    return {
        "ratio": round(peaks[1] / peaks[0], 3),
        "wanted": "<= 1.1",
        "peak_mib": [round(peak / 2**20) for peak in peaks],
        "bound_mib": round(bound / 2**20),
        "peak_over_bound": round(max(peaks) / bound, 3),
        "formula": plan.memory.formula(faces=1),
        "frames": [minute_frames, minute_frames * 10],
        "seconds": [round(probe(clip).duration_s) for clip in (minute, long)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=200, help="of the clips for speed")
    parser.add_argument(
        "--minute-frames",
        type=int,
        default=600,
        help="frames of the minute whose memory is measured (600: 10 per second)",
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", choices=("overlap", "plain", "memory"), help="one of the three")
    parser.add_argument("--network", type=Path, help="ONNX file; default: the shipped one")
    parser.add_argument("--one", type=Path, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as the command line does
    settings = resolve({name: Given(value, "benchmark") for name, value in CODEC.items()})
    if arguments.one:
        clip, target, network = arguments.one
        reconstruct(ReconstructJob(clip, target, network=network), settings, lambda _: None)
        print(own_peak_bytes())
        return
    network = arguments.network or engine_file(default_net())
    frames, turns = arguments.frames, arguments.turns
    parts: dict[str, Callable[[Path], dict[str, object]]] = {
        "overlap": lambda folder: overlap(folder, network, settings, frames, turns),
        "plain": lambda folder: without_mosaic(folder, network, settings, frames, turns),
        "memory": lambda folder: memory(folder, network, settings, arguments.minute_frames),
    }
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    results: dict[str, object] = {"machine": machine, "network": network.name}
    for name, part in parts.items():
        if arguments.only in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                results[name] = part(Path(folder))
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.only is None:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
