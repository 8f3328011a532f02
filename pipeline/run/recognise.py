"""What a run knows of people: the stage that joins tracks, and who is left because of a photo."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.faces import FaceDetector
from pipeline.notes import decided
from pipeline.people.network import DlibNetwork, is_installed
from pipeline.people.photos import PHOTO_SIZE_PX, KeptByPhoto, read_photo
from pipeline.people.recognition import Looker, Recognition
from pipeline.run.job import AnonymizeJob
from pipeline.types import StreamInfo

log = logging.getLogger(__name__)

NAME = "dlib's face recognition network"


@dataclass(frozen=True, slots=True)
class People:
    """Of one run; by default nothing is known."""

    recognition: Recognition | None = None
    """None: every track is taken for a person of its own, or their people are given with the tracks."""
    photos: KeptByPhoto | None = None
    """None: nobody is left because of a photo."""

    def joined(self) -> dict[int, int]:
        """After the last frame: see ``Gallery.joined``."""
        return {} if self.recognition is None else self.recognition.joined()

    def matches(self) -> dict[int, tuple[str, float]]:
        """Photo and distance, by track that was left."""
        found = {} if self.photos is None else self.photos.matches
        return {track: (match.photo, match.distance) for track, match in found.items()}

    def nearest_to_photo(self) -> float | None:
        """Distance of the nearest of all looks to a photo; None: there was none."""
        nearest = None if self.photos is None else self.photos.nearest
        return None if nearest is None else nearest.distance


NOBODY = People()


def open_people(
    job: AnonymizeJob,
    config: RunConfig,
    info: StreamInfo,
    open_detector: Callable[[tuple[int, int]], FaceDetector],
    *,
    previews: bool,
) -> People:
    """Opens the network where the job needs it, see ``RunConfig.people``.

    Raises MissingError where it is asked for and not installed, InputError for a photo that cannot be used.
    """
    photos, joined = job.selection.keep_faces, joins(job, config, previews=previews)
    if not (photos or joined):
        return NOBODY
    network = DlibNetwork()
    looker = Looker(network, info.rotation, config.people.min_px, info.mirrored)
    kept = None
    if photos:
        detector = open_detector(PHOTO_SIZE_PX)
        read = [read_photo(path, detector, network) for path in photos]
        kept = KeptByPhoto(read, looker, config.people.sure)
    return People(Recognition(looker, config.people) if joined else None, kept)


def joins(job: AnonymizeJob, config: RunConfig, *, previews: bool) -> bool:
    """Whether a run, or a preview, joins tracks of one person."""
    asked = config.people.recognise
    if job.tracks is not None or asked == "off":
        return False
    if asked == "on":
        return True
    per_person = job.mode == "protect" and config.protect.values == "nobody"
    if not (previews or per_person or job.selection.keep_faces):
        return False
    if not is_installed():
        decided(
            log,
            "people: every track is taken for a person of its own; pip install 'vidpipe[people]' joins them",
        )
        return False
    return True
