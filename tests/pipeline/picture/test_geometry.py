"""Canonical coordinates: affine, index map and rotation say the same."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from nets.pixelation import membership
from pipeline.picture.geometry import (
    View,
    as_coded,
    pixels_under,
    upright,
    upright_cells,
    view_around,
    view_of,
)
from pipeline.types import Box

rotations = st.sampled_from([0, 90, 180, 270])
views = st.builds(
    View,
    x0=st.integers(-50, 50),
    y0=st.integers(-50, 50),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    rotation=rotations,
)


@given(view=views, size_px=st.integers(1, 64))
def test_affine_and_index_map_name_the_same_pixel(view: View, size_px: int) -> None:
    """The upright picture of coded coordinates is what the affine gives at the centres of canonical px."""
    x = pixels_under(view.x0, view.width, size_px)
    y = pixels_under(view.y0, view.height, size_px)
    coded = torch.stack([x.expand(size_px, size_px), y.unsqueeze(1).expand(size_px, size_px)])
    shown = upright(coded, view.rotation).numpy()
    j, i = np.meshgrid(np.arange(size_px) + 0.5, np.arange(size_px) + 0.5)
    where = np.einsum("ab,bij->aij", view.to_frame(size_px), np.stack([j, i, np.ones_like(i)]))
    assert np.all(np.abs(where - (shown + 0.5)) <= 0.5 + 1e-6)


@given(view=views, size_px=st.integers(1, 300))
def test_a_view_is_read_back_from_its_affine(view: View, size_px: int) -> None:
    assert view_of(view.to_frame(size_px), size_px, view.rotation) == view


@given(rotation=rotations, seed=st.integers(0, 99))
def test_upright_and_back(rotation: int, seed: int) -> None:
    x = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(as_coded(upright(x, rotation), rotation), x)


def test_a_player_turns_counter_clockwise() -> None:
    coded = torch.tensor([[1, 2], [3, 4]])
    assert upright(coded, 90).tolist() == [[2, 4], [1, 3]]


@given(rotation=rotations, down=st.integers(1, 5), across=st.integers(1, 5), seed=st.integers(0, 99))
def test_membership_turns_like_the_picture(rotation: int, down: int, across: int, seed: int) -> None:
    """Replicating turned samples through turned memberships is turning the replicated picture."""
    gen = torch.Generator().manual_seed(seed)
    rows, cols = (torch.randint(-1, count, (8,), generator=gen) for count in (down, across))
    samples = torch.rand(down, across, generator=gen)
    coded = membership(rows, down).T @ samples @ membership(cols, across)
    shown_rows, shown_cols = upright_cells(rows, cols, (down, across), rotation)
    turned = upright(samples, rotation)
    n, m = turned.shape
    again = membership(shown_rows, n).T @ turned @ membership(shown_cols, m)
    assert torch.equal(again, upright(coded, rotation))
    assert shown_rows.max() < n
    assert shown_cols.max() < m


def test_view_is_square_on_screen_and_centred() -> None:
    box = Box(100.0, 60.0, 140.0, 80.0)
    plain = view_around(box, 64.0, Fraction(1), 0)
    assert (plain.x0, plain.y0, plain.width, plain.height) == (88, 38, 64, 64)
    wide = view_around(box, 64.0, Fraction(4, 3), 0)  # pixels 4/3 as wide as high
    assert (wide.width, wide.height) == (48, 64)
    assert wide.x0 + wide.width / 2 == box.centre[0]
