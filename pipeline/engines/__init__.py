"""Engines: a network as a file, run by one library, behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a restoring network wants, read from the metadata of its ONNX file.

    Inputs, all float32, batch B free unless the engine says otherwise:
    ``image`` (B, T, 3, S, S) RGB in [0, 1]; ``mask`` (B, T, 1, S, S), 1 clean;
    ``rows``, ``cols`` (B, T, N, S) membership. Outputs: ``restored`` (B, C, 3, S, S) RGB and ``trust``
    (B, C) in [0, 1], for the ``core`` frames in the middle of the window, C = T - 2 * context.
    """

    net: str
    """idn, nar"""
    version: str
    weights_sha256: str
    window: int
    """T, frames that go in"""
    context: int
    """frames at either end that are only looked at"""
    size_px: int
    """S"""
    cells: int
    """N, the most cells per axis"""

    @property
    def core(self) -> int:
        return self.window - 2 * self.context


class Engine(Protocol):
    """A network that runs. Outputs belong to the caller: an engine copies what its library reuses."""

    spec: EngineSpec
    name: str
    """Library, device and precision, e.g. ``openvino CPU bf16``."""

    def infer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]: ...
    def close(self) -> None: ...
