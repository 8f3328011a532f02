"""NVENC is taken where a frame comes out of it, and only there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import av
import pytest
import torch

from pipeline.encode import EncodeSettings, codecs, encoder_names
from pipeline.encode.codecs import choices, nvenc_refusal
from pipeline.errors import UsageError
from tests.support.scene import scene

INFO = scene(size=(320, 240)).info


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    nvenc_refusal.cache_clear()
    yield
    nvenc_refusal.cache_clear()


def first(settings: EncodeSettings) -> codecs.Choice:
    return next(iter(choices(settings, INFO, "yuv420p", "mp4")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may have the encoder")
def test_without_a_gpu_the_probe_says_no_and_the_cpu_encodes(caplog: pytest.LogCaptureFixture) -> None:
    assert nvenc_refusal("h264_nvenc", 0)
    with caplog.at_level(logging.INFO):
        assert first(EncodeSettings(gpu=0)).encoder == "libx264"
    assert "encoder: on the CPU; h264_nvenc" in caplog.text


def test_a_gpu_that_encodes_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    if not encoder_names.is_in_ffmpeg("h264_nvenc"):
        pytest.skip("this FFmpeg has no NVENC")
    monkeypatch.setattr(codecs, "nvenc_refusal", lambda name, gpu: "")
    choice = first(EncodeSettings(gpu=1, crf=23, preset="slow"))
    assert choice.encoder == "h264_nvenc"
    assert choice.options.items() >= {"cq": "23", "preset": "p6", "gpu": "1"}.items()
    assert first(EncodeSettings()).encoder == "libx264"
    assert first(EncodeSettings(gpu=1, codec="libx264")).encoder == "libx264"
    assert (
        next(iter(choices(EncodeSettings(gpu=1), replace(INFO, interlaced=True), "yuv420p", "mp4"))).encoder
        == "libx264"
    )
    with pytest.raises(UsageError, match="p1 to p7"):
        first(EncodeSettings(gpu=1, preset="p9"))


@pytest.mark.gpu
def test_what_the_probe_says_holds() -> None:
    """Where it says yes the encoder opens for a clip; where it says no, that fails, too."""
    refusal = nvenc_refusal("h264_nvenc", 0)
    writer = av.CodecContext.create("h264_nvenc", "w")
    writer.width, writer.height, writer.pix_fmt = 320, 240, "yuv420p"  # type: ignore[attr-defined]
    writer.time_base = INFO.time_base
    if refusal:
        with pytest.raises((av.FFmpegError, OSError)):
            writer.open()
    else:
        writer.open()
