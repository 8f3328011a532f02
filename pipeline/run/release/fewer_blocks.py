"""Fewer blocks for tracks whose face was seen through its masks, where nobody asked for a number of blocks.

A mask that shows a face is told from one that does not when it is looked at in the output. So the file is
covered once more, from the tracks that are known: only the tracks that were seen through get coarser masks.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config import Resolved
from pipeline.run.anonymize_sidecar import FewerBlocksRecord, GateRecord, Mode
from pipeline.run.release.verdict import some

STEPS = (4, 3)
"""Blocks across the face that a track gets instead, one after another."""
MOST_REPEATS = len(STEPS)
"""Times that a file is covered again; what is seen through then is refused."""


def may_help(mode: Mode, settings: Resolved, gate: GateRecord, repeats: int) -> bool:
    """Whether fewer blocks may make an output fit that the check has refused. ``repeats``: how often it was
    covered again. Colours that are measured once are not measured again."""
    chosen = mode != "pixelize" or "mask.blocks" in settings.origins
    return bool(gate.seen_through) and not gate.uncovered and not chosen and repeats < MOST_REPEATS


def fewer(gate: GateRecord, usual: int, before: Sequence[FewerBlocksRecord]) -> list[FewerBlocksRecord]:
    """A record for each track that was seen through. ``usual``: blocks of those not in ``before``."""
    have = {record.track: record.blocks for record in before}
    records = []
    for sight in gate.seen_through:
        blocks = have.get(sight.track, usual)
        coarser = next((step for step in STEPS if step < blocks), 1)
        records.append(FewerBlocksRecord(track=sight.track, before=blocks, blocks=coarser, seen=sight))
    return records


def told(records: Sequence[FewerBlocksRecord]) -> str:
    """One line of what is done."""
    steps = sorted({(record.before, record.blocks) for record in records}, reverse=True)
    through = " and ".join(str(before) for before, _ in steps)
    instead = " and ".join(str(blocks) for _, blocks in steps)
    tracks = "one track" if len(records) == 1 else f"{len(records)} tracks"
    return (
        f"faces were seen through {through} blocks ({some([record.seen for record in records])}): "
        f"{tracks} covered again with {instead}"
    )
