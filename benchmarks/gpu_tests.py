"""The tests that need a GPU, DALI or TensorRT, run by pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARKED = ("gpu", "dali", "trt")
"""Markers of the tests that this runs."""


def tests() -> dict[str, Any]:
    """The tests that need a GPU, DALI or TensorRT. None may be skipped: what is not here fails, unless
    ``VIDPIPE_REQUIRE`` promises less."""
    import torch

    from tests.support.needs import NEEDS

    required = os.environ.get("VIDPIPE_REQUIRE", ",".join(MARKED))
    missing = [NEEDS[name][1] for name in MARKED if not NEEDS[name][0]()]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            " or ".join(MARKED),
            f"--junitxml={report}",
            "tests",
        ]
        environment = {**os.environ, "VIDPIPE_REQUIRE": required}
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        try:
            cases = list(ET.parse(report).getroot().iter("testcase"))  # our own report
        except (OSError, ET.ParseError):
            said = f"{ended.stdout}\n{ended.stderr}".strip()[-1500:]
            return {"error": f"pytest ended with {ended.returncode} before its report: {said}"}
    failed = [
        {"test": f"{case.get('classname')}.{case.get('name')}", "why": (bad.get("message") or "")[:400]}
        for case in cases
        for bad in (*case.findall("failure"), *case.findall("error"))
    ]
    skipped = [
        {"test": f"{case.get('classname')}.{case.get('name')}", "why": (skip.get("message") or "")[:400]}
        for case in cases
        if (skip := case.find("skipped")) is not None
    ]
    result = {
        "required": required,
        "missing": missing,
        "gpu": torch.cuda.is_available(),
        "passed": len(cases) - len(skipped) - len(failed),
        "failed": failed,
        "skipped": skipped,
        "exit_code": ended.returncode,
    }
    bad = f"{len(failed)} of {len(cases)} tests failed, pytest ended with {ended.returncode}"
    return result if ended.returncode == 0 else {"error": bad, **result}
