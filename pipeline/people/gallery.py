"""The people of a file so far, by the looks at them that were taken."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from pipeline.people.network import Embedding

_MOST_LOOKS = 12
"""Of a person that are kept; the first ones."""


class Gallery:
    """People from 1 on. The distance between a look and a person is the mean over the person's looks."""

    def __init__(self, same: float) -> None:
        """``same``: distance below which two are one person."""
        self._same = same
        self._looks: dict[int, list[Embedding]] = {}
        self._apart: set[tuple[int, int]] = set()
        self._count = 0

    def person_of(self, look: Embedding | None, others: Collection[int]) -> int:
        """Whom a look shows: the nearest of the people so far who is none of ``others``, else somebody new.

        Without a look it is somebody new.
        """
        if look is not None:
            near = [(self._distance([look], looks), p) for p, looks in self._looks.items() if p not in others]
            distance, person = min(near, default=(np.inf, 0))
            if distance < self._same:
                self.add(person, look)
                return person
        self._count += 1
        if look is not None:
            self.add(self._count, look)
        return self._count

    def add(self, person: int, look: Embedding) -> None:
        """A further look at a person."""
        looks = self._looks.setdefault(person, [])
        if len(looks) < _MOST_LOOKS:
            looks.append(look)

    def seen_together(self, people: Iterable[int]) -> None:
        """They were on one frame, so no two of them are the same."""
        ordered = sorted(set(people))
        self._apart.update((p, q) for i, p in enumerate(ordered) for q in ordered[i + 1 :])

    def joined(self) -> dict[int, int]:
        """Who turned out to be the same once all looks were there: person -> the lowest number of theirs.

        Average linkage: the two nearest groups become one as long as they are nearer than ``same``, and no
        two of them were seen together.
        """
        groups = {person: [person] for person in self._looks}
        people = list(groups)
        distances = np.full((len(people), len(people)), np.inf)
        for i, p in enumerate(people):
            for j, q in enumerate(people[:i]):
                if (min(p, q), max(p, q)) not in self._apart:
                    distances[i, j] = distances[j, i] = self._distance(self._looks[p], self._looks[q])
        while len(people) > 1:
            i, j = sorted(divmod(int(distances.argmin()), len(people)))
            if not distances[i, j] < self._same:
                break
            a, b = len(groups[people[i]]), len(groups[people[j]])
            both = (a * distances[i] + b * distances[j]) / (a + b)  # infinite where either was seen with them
            distances[i], distances[:, i] = both, both
            distances[j], distances[:, j] = np.inf, np.inf
            distances[i, i] = np.inf
            groups[people[i]] += groups[people[j]]
            del groups[people[j]]
        return {person: min(group) for group in groups.values() for person in group}

    @staticmethod
    def _distance(some: list[Embedding], others: list[Embedding]) -> float:
        return float(np.linalg.norm(np.array(some)[:, None] - np.array(others)[None], axis=2).mean())
