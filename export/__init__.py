"""This package turns a checkpoint into a file that an engine runs: ``graph_formats`` and ``tensorrt``
convert, ``parity`` compares the result with PyTorch, ``cache`` keeps it under the hash of what it was made
from, ``convert`` does all of it, and ``select`` chooses the file that a run opens."""
