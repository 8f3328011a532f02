"""Mosaics in one picture: where they are, their cells, how sure. ``finder`` is the way in.

- ``finder``: all mosaics of a picture; ``single_scale``: those of one size of it.
- ``edges``, ``screening``: isolated edges, and places that have enough of them to be examined.
- ``grid_fit``, ``bounds``, ``cell_strips``, ``outline``: pitch and phase of the lines, the box, its shape.
- ``evidence``, ``region``: what is measured in a part of a picture, and one region fitted to it.
- ``score``, ``rejection``: how sure, and the rules by which something is no mosaic.
- ``sampling``: means or point samples. ``weights``: fitted weights.
- ``redetect``, ``multi_frame``, ``periodicity``: what the frame before, some frames, or a period hint at.
- ``debug``: why is a mosaic missed?
"""
