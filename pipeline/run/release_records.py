"""What ``protect`` released of each person, for the report."""

from __future__ import annotations

from pipeline.prototypes.nobody import NobodyColours
from pipeline.run.anonymize_sidecar import BitsRecord, ReleaseRecord
from pipeline.stages.held_colours import HeldColours
from pipeline.stages.perturb import Perturber
from pipeline.stages.pixelize import Pixelizer


def release_records(
    pixelizer: Pixelizer, perturber: Perturber | None, epsilon: float | None
) -> list[ReleaseRecord]:
    """Of a run that has ended; empty where nothing is chosen or held."""
    match pixelizer.colours:
        case NobodyColours() as colours:
            return _chosen(colours)
        case HeldColours() as colours:
            return _measured(colours, perturber, epsilon)
        case None:
            return []


def _chosen(colours: NobodyColours) -> list[ReleaseRecord]:
    return [
        ReleaseRecord(
            track=given.tracks[0],
            tracks=given.tracks,
            person=given.person,
            values="nobody",
            prototype=given.number,
            bits=[BitsRecord(what=told.what, bits=round(told.bits, 2)) for told in given.told],
            measurements=given.measured,
        )
        for given in colours.given
    ]


def _measured(
    colours: HeldColours, perturber: Perturber | None, epsilon: float | None
) -> list[ReleaseRecord]:
    return [
        ReleaseRecord(
            track=track,
            measurements=release.measured,
            smallest_cell_px=round(release.block_px, 2),
            noise_levels=None if release.noise_levels is None else round(release.noise_levels, 2),
            epsilon=None if epsilon is None else epsilon * release.measured,
            perturbed_levels=None if perturber is None else perturber.levels.get(track),
        )
        for track, release in sorted(colours.releases.items())
    ]
