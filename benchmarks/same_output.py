"""Are the outputs of two versions the same? Six runs, three modes on two clips, on the CPU.

    python -m benchmarks.same_output CLIP CLIP --record before.json      # with one version
    python -m benchmarks.same_output CLIP CLIP --compare before.json     # with the other; exit code 1 if not

What is compared: every decoded frame with its time stamp, every packet of the other streams, and the
fields of the sidecar that no clock decides. ``reconstruct`` works on what ``pixelize`` made of the clip.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
from av.video.stream import VideoStream

MODES = ("pixelize", "protect", "reconstruct")
TIMED = {
    "stages",
    "waits_s",
    "bottleneck",
    "streaming_s",
    "elapsed_s",
    "versions",
    "input",
    "output",
    "engine",
}
"""Fields of the sidecar that differ from run to run, or that name the version."""


def frames_hash(path: Path) -> str:
    """SHA-256 over format, time stamp and pixels of all frames, and all packets of other streams."""
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux():
            if not isinstance(packet.stream, VideoStream):
                digest.update(f"{packet.stream.index} {packet.pts} {bytes(packet)!r}".encode())
                continue
            for frame in packet.stream.decode(packet):
                digest.update(f"{frame.pts} {frame.format.name}".encode())
                digest.update(frame.to_ndarray().tobytes())
    return digest.hexdigest()


def run(source: Path, mode: str, target: Path, seconds: float) -> dict[str, Any]:
    """What one run gave: hash of its frames, hash of its file, and what its sidecar says."""
    command = [sys.executable, "-m", "vidpipe", "run", str(source), "--mode", mode, "-o", str(target), "-q"]
    command += ["--device", "cpu", "--end", str(seconds), "-y"]
    if mode != "reconstruct":
        command += ["--gate", "off"]  # a face that a clip leaves uncovered must not end the comparison
    subprocess.run(command, check=True)
    sidecar = json.loads(target.with_name(f"{target.name}.json").read_text())
    said = {name: value for name, value in sidecar.items() if name not in TIMED}
    return {
        "frames": frames_hash(target),
        "file": hashlib.sha256(target.read_bytes()).hexdigest(),
        "sidecar_fields": sorted(sidecar),
        "sidecar": said,
    }


def measure(clips: list[Path], seconds: float) -> dict[str, Any]:
    """All runs, by clip and mode."""
    results: dict[str, Any] = {}
    with TemporaryDirectory() as name:
        for clip in clips:
            source = clip
            for mode in MODES:
                target = Path(name) / f"{clip.stem}.{mode}.mp4"
                if mode == "reconstruct":
                    source = Path(name) / f"{clip.stem}.pixelize.mp4"
                results[f"{clip.name} {mode}"] = run(source, mode, target, seconds)
                print(clip.name, mode, results[f"{clip.name} {mode}"]["frames"][:16], flush=True)
    return results


def differences(before: Any, after: Any, at: str = "") -> list[str]:
    """Where two JSON values differ, by their path."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted({*before, *after})
        return [d for n in names for d in differences(before.get(n), after.get(n), f"{at}/{n}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            d
            for i, (b, a) in enumerate(zip(before, after, strict=True))
            for d in differences(b, a, f"{at}/{i}")
        ]
    return [] if before == after else [f"{at}: {str(before)[:80]} became {str(after)[:80]}"]


def main() -> int:
    """Exit code of the command."""
    parser = argparse.ArgumentParser(description="compare the outputs of two versions")
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    results = measure(arguments.clips, arguments.seconds)
    if arguments.record:
        arguments.record.write_text(json.dumps(results, indent=1) + "\n")
    if not arguments.compare:
        return 0
    found = differences(json.loads(arguments.compare.read_text()), results)
    print("\n".join(found) or "the same")
    return int(any(not d.split(":")[0].endswith("/file") for d in found))


if __name__ == "__main__":
    sys.exit(main())
