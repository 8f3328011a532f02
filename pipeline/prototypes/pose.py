"""How far a face is turned in the picture plane, from five landmarks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

UPRIGHT = np.array([[-0.38, -0.2], [0.38, -0.2], [0.0, 0.18], [-0.3, 0.5], [0.3, 0.5]])
"""(5, 2): eyes, nose, corners of the mouth of an upright face in half boxes from the middle of its box, as
CenterFace sees faces from the front"""
WIDTH = 0.77
"""Width of a face's box over its height, seen from the front; means of the pictures behind the prototypes"""


def roll(landmarks: NDArray[np.float32] | NDArray[np.float64]) -> float:
    """Degrees clockwise in the picture, -180..180, by which a face (5, 2) px is turned: the rotation of the
    similarity that maps ``UPRIGHT`` onto it with least squares (Umeyama, PAMI 1991).

    Eyes and mouth count together, so that a face in profile, whose eyes are close, has a roll, too.
    """
    shape = UPRIGHT * (WIDTH, 1.0)
    wanted = (shape - shape.mean(0)) @ (1, 1j)
    found = (landmarks - landmarks.mean(0)) @ np.array([1, 1j])
    return math.degrees(float(np.angle(np.vdot(wanted, found))))
