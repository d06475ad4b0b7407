"""Frames in tiles: what each pixel gets, and that seams do not show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepdepth.net.tiles import OVERLAP_PX, run_tiled, tile_starts


@given(st.integers(1, 3000), st.integers(32, 200))
def test_tiles_cover_a_side_and_overlap(length, tile):
    starts = tile_starts(length, tile)
    if length <= tile:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] == length - tile
    steps = np.diff(starts)
    assert steps.max() <= tile - OVERLAP_PX + 1  # spread evenly to whole pixels
    assert (len(starts) - 1) * (tile - OVERLAP_PX) < length - OVERLAP_PX <= len(starts) * (tile - OVERLAP_PX)


@pytest.mark.parametrize("size", [(96, 128), (97, 300), (260, 346), (480, 640)])
def test_what_every_tile_agrees_on_comes_out_as_it_is(size):
    channels = np.random.default_rng(0).random((3, *size), np.float32)
    out = run_tiled(lambda part: part[:2] * 2, channels, (96, 128))
    np.testing.assert_allclose(out, channels[:2] * 2, rtol=1e-5)


def test_tiles_that_disagree_fade_into_each_other():
    answers = iter(range(10))
    out = run_tiled(
        lambda part: np.full((1, *part.shape[1:]), next(answers), np.float32), np.zeros((1, 64, 112)), (64, 64)
    )
    row = out[0, 32]
    assert row[0] == 0
    assert row[-1] == 1
    assert np.all(np.diff(row) >= 0)
    assert np.diff(row).max() < 0.1
