"""vidpipe: footage with pixelated faces in, reconstructed footage out.

    import vidpipe
    report = vidpipe.run("in.mp4", "out.mp4")

Importing this costs nothing: libraries are loaded by the call.
"""

from __future__ import annotations

__version__ = "0.1.0"
