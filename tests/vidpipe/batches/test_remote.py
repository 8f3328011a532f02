"""Inputs and outputs in an S3-compatible store, which runs on this machine for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline.errors import InputError
from tests.support.clips import write_clip
from vidpipe.batches.driver import BEFORE, Plan, run
from vidpipe.batches.ledger import State
from vidpipe.batches.pool import LocalPool

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
pytestmark = pytest.mark.slow


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A file system of a store that is empty but for two buckets."""
    import s3fs  # noqa: PLC0415
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name, value in (
        ("ACCESS_KEY_ID", "none"),
        ("SECRET_ACCESS_KEY", "none"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem(use_listings_cache=False)
    system.makedirs("footage", exist_ok=True)
    system.makedirs("released", exist_ok=True)
    yield system
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_batch_from_a_store_to_a_store(store: Any, tmp_path: Path) -> None:
    names = ["a.mp4", "deep/er/b c.mp4"]
    for name in names:
        store.put_file(
            str(write_clip(tmp_path / "clip.mp4", frames=3, width=96, height=64)), f"footage/{name}"
        )
    store.pipe_file("footage/broken.mp4", b"none")
    store.pipe_file("footage/notes.txt", b"none")
    plan = Plan(["s3://footage"], tmp_path / "out", "pixelize", upload="s3://released/today")

    def batch() -> dict[str, tuple[State, str]]:
        results = run(plan, lambda: LocalPool(1, 1))
        return {result.source: (result.state, result.reason) for result in results}

    first = batch()
    assert {name: state for name, (state, _) in first.items()} == {
        "s3://footage/a.mp4": State.DONE,
        "s3://footage/broken.mp4": State.FAILED,
        "s3://footage/deep/er/b c.mp4": State.DONE,
    }
    wanted = [f"released/today/{stem}.pixelize.mp4" for stem in ("a", "deep/er/b c")]
    assert store.find("released") == sorted(wanted + [f"{name}.json" for name in wanted])
    for name in wanted:
        store.get_file(name, str(tmp_path / "got.mp4"))
        with av.open(str(tmp_path / "got.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == 3
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.mp4*")) == [], "moved, not copied"
    assert {reason for state, reason in batch().values() if state is State.DONE} == {BEFORE}

    store.put_file(str(write_clip(tmp_path / "clip.mp4", frames=5, width=96, height=64)), "footage/a.mp4")
    assert [source for source, (_, reason) in batch().items() if reason == ""] == ["s3://footage/a.mp4"]


def test_a_bucket_that_is_not_there_is_one_line(store: Any, tmp_path: Path) -> None:
    del store
    with pytest.raises(InputError, match="s3://none"):
        list(run(Plan(["s3://none/x.mp4"], tmp_path / "out", "pixelize"), lambda: LocalPool(1, 1)))
