"""Faces of one look and the next: the library that joins them is imported with the first one."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
import pipeline.run.anonymize, pipeline.run.reconstruct
from pipeline.track.association import Association
from pipeline.types import Box, FaceRegion

faces = Association(3)
assert faces.update(0.0, 0.0, []) == []
before = "norfair" in sys.modules
region = FaceRegion(Box(10, 10, 30, 30), 0.9)
new = [len(faces.update(time_s, time_s, [region] * seen)) for time_s, seen in ((0.1, 0), (0.2, 1), (0.3, 1))]
sys.stdout.write(f"{before} {new} {'norfair' in sys.modules}")
"""


def test_norfair_is_imported_with_the_first_face() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "False [0, 1, 0] True"
