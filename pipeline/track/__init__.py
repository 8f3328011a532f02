"""Regions of single frames -> tracks over time.

There are two trackers, as the two kinds of region differ in what they are worth missing for:

- ``mosaics``: the finder reads a grid that identifies a mosaic, so association weighs overlap and pitch (a
  Hungarian assignment of its own). Only gaps between two detections are filled: what is drawn over a frame
  must have been there.
- ``faces``: boxes alone, in crowds, association by Norfair. A face is covered from before its first to after
  its last detection: one frame too many costs little, one too few shows a face.

``smooth`` and ``vote`` give mosaics steady bounds and grids, ``extend`` gives faces a box at any time,
``select`` keeps what a user chose.
"""

SLACK_S = 1e-6
"""Seconds by which two times may differ and be one: they are fractions in floating point."""
