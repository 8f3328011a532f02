"""Helpers that tests, benchmarks and tools share. They import nothing of benchmarks or tools."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
SHARED = ROOT.parent / "shared"
"""Private clips; tests that read them carry the marker ``shared``."""
