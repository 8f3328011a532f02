"""What is written beside an exported engine: what it is, how it was made, how it compares with PyTorch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pipeline.engines.parity import Parity


class ParityRecord(BaseModel):
    """One engine against PyTorch in float32, see ``pipeline.engines.parity.Parity``."""

    model_config = ConfigDict(extra="forbid")

    engine: str
    precision: str
    psnr_db: float
    truth_db: float
    change_db: float
    max_error: float
    max_trust_error: float
    windows: int
    holds: bool

    @staticmethod
    def of(parity: Parity) -> ParityRecord:
        return ParityRecord.model_validate(parity.as_dict())


class Report(BaseModel):
    """One export."""

    model_config = ConfigDict(extra="forbid")

    net: str
    checkpoint: str
    """A shipped network's name or the path that was exported."""
    target: str
    precision: str
    batch: str
    size_px: int
    window: int
    core: int
    identity: dict[str, str]
    """What it was made from: the cache's key is the hash of this."""
    files: dict[str, str]
    """Name -> SHA-256; the first one is what an engine opens."""
    size_bytes: int
    made_at: str
    """UTC"""
    build_s: float
    """Wall clock, parity left out."""
    crops: str
    """The pictures that parity was measured on."""
    parity: list[ParityRecord]
    """Every library that could run the file here; for TensorRT the graph that the engine was built from."""
    not_run: str = ""
    """Why the engine itself could not be run here. It is then measured when it is first opened."""
    signature: str = ""
    """Of all the above, by the user's key (``pipeline.engines.engine_file``)."""

    def signed_content(self) -> bytes:
        """What the signature is over."""
        return self.model_dump_json(exclude={"signature"}).encode()
