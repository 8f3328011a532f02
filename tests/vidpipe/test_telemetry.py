"""Nothing leaves the machine: every kind of command in one process that records who is asked for what.

Python's own sockets are recorded where they are made. Libraries in C++ are given a proxy, which is a port of
this machine that counts who comes. A home folder of its own shows what anybody keeps.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.export.conftest import tiny
from tests.support import ROOT
from tests.support.clips import write_clip
from tests.support.hostile import listener

pytestmark = pytest.mark.slow

__all__ = ["tiny"]

_PROGRAM = """
    import json, sys
    recorded = []

    def record(event, arguments):
        if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
            recorded.append([event, repr(arguments)])
            raise OSError("the network is blocked")
        if event in {"subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"}:
            recorded.append([event, repr(arguments)])

    sys.addaudithook(record)
    import export.select
    from vidpipe.cli.main import Interrupts, run_command

    export.select.default_net = lambda: sys.argv[2]  # the doctor's: a small one
    commands = json.loads(sys.argv[1])
    codes = [run_command(command, Interrupts()) for command in commands]
    print(json.dumps({"codes": codes, "recorded": recorded}), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", frames=3)


def test_no_command_asks_a_host_runs_a_foreign_program_or_keeps_a_file_elsewhere(
    clip: Path, tiny: Path, tmp_path: Path
) -> None:
    home, out, faces, programs = (tmp_path / name for name in ("home", "out", "faces", "programs"))
    for folder in (home, out, faces, programs):
        folder.mkdir()
    picture = np.random.default_rng(1).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    cv2.imwrite(str(faces / "face.png"), cv2.GaussianBlur(picture, (0, 0), 5))
    for name in ("ffmpeg", "ffprobe", "mkvmerge"):
        trap = programs / name
        trap.write_text(f"#!/bin/sh\ntouch {programs}/{name}.ran\n")
        trap.chmod(trap.stat().st_mode | stat.S_IXUSR)
    run = ["run", str(clip), "--no-progress", "--preset", "ultrafast"]
    commands = [
        ["export", str(tiny), "--to", "openvino", "-o", str(out / "net.xml")],
        [*run, "-o", str(out / "a.mp4"), "--mode", "reconstruct", "--net", str(tiny)],
        [*run, "-o", str(out / "b.mp4"), "--mode", "pixelize"],
        [*run, "-o", str(out / "c.mp4"), "--mode", "protect"],
        ["train", "idn", "--faces", str(faces), "-o", str(out / "run"), "--steps", "1", "--batch", "1", "-q"],
        ["doctor", "--json"],
    ]
    with listener() as (port, asked):
        proxy = f"http://127.0.0.1:{port}"
        places = {"HOME": str(home), "TMPDIR": str(tmp_path), "PATH": f"{programs}:{os.environ['PATH']}"}
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), proxy)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "VIDPIPE_", "ORT_", "CI"))}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_PROGRAM), json.dumps(commands), str(tiny)],
            cwd=ROOT,
            env={**kept, **places, **proxies},
            capture_output=True,
            text=True,
            check=False,
        )
    told = json.loads(done.stderr.strip().splitlines()[-1])
    assert told == {"codes": [0] * len(commands), "recorded": []}, done.stderr
    assert asked == []
    assert list(programs.glob("*.ran")) == []
    outside = [
        path for path in home.rglob("*") if path.is_file() and home / ".cache/vidpipe" not in path.parents
    ]
    assert outside == []
