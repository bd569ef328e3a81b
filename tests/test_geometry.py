from itertools import permutations, product

import numpy as np
import pytest
from support.known_networks import centroid_mm

from service.imaging.errors import GeometryError
from service.imaging.geometry import resample, resample_mask, working_grid
from service.imaging.volume import Grid, Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
CENTRE_MM = np.array([7.0, -4.0, 11.0])  # RAS+, of a ball with a radius of 12 mm


def rotation(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return turn @ turn[[2, 0, 1]][:, [2, 0, 1]]


def grid_around_ball(axes: np.ndarray, shape: tuple[int, int, int]) -> Grid:
    """A grid with these axes and its centre near the ball."""
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = CENTRE_MM + np.array([2.5, -1.5, 3.0]) - axes @ (np.array(shape) // 2)
    return Grid(shape, affine)


def ball(grid: Grid) -> np.ndarray:
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)
    points = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.linalg.norm(points - CENTRE_MM, axis=-1) < 12


SIGNED_PERMUTATIONS = [
    np.eye(3)[:, order] * signs for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]


def test_a_brats_grid_is_its_own_working_grid_without_a_copy():
    volume = Volume(np.ones((24, 24, 15), np.float32), LPS)
    grid = working_grid(volume.grid)
    assert grid.shape == volume.grid.shape
    assert np.array_equal(grid.affine, LPS)
    assert np.shares_memory(resample(volume, grid), volume.voxels)


@pytest.mark.parametrize("axes", SIGNED_PERMUTATIONS, ids=lambda axes: "".join(f"{v:+.0f}" for v in axes.sum(axis=0)))
def test_every_orientation_round_trips_exactly_without_interpolation(axes):
    source = grid_around_ball(axes, (40, 44, 48))
    values = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    working = working_grid(source)
    assert working.orientation == "LPS"
    moved = Volume(resample(Volume(values, source.affine), working), working.affine)
    assert np.array_equal(np.sort(moved.voxels, axis=None), np.sort(values, axis=None))
    assert np.array_equal(resample(moved, source), values)
    lesion = resample_mask(ball(source), source, working)
    assert centroid_mm(lesion, working.affine) == pytest.approx(centroid_mm(ball(source), source.affine), abs=1e-9)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        (np.diag([-2.0, -2.0, 2.0]), (24, 24, 24)),
        (np.diag([0.5, -0.5, 5.0]), (96, 96, 10)),
        (np.diag([1.0, 1.0, 3.0])[:, [2, 0, 1]], (16, 48, 48)),
        (rotation(20), (48, 48, 48)),
        (rotation(-35) @ np.diag([-1.0, 0.9, 2.5]), (48, 52, 20)),
    ],
    ids=["2-mm", "thick-slices", "sagittal", "oblique", "oblique-anisotropic"],
)
def test_a_lesion_keeps_its_position_and_volume_in_a_round_trip(axes, shape):
    source = grid_around_ball(axes, shape)
    working = working_grid(source)
    assert working.spacing_mm == (1, 1, 1)
    assert working.orientation == "LPS"
    forward = resample_mask(ball(source), source, working)
    back = resample_mask(forward, working, source)
    tolerance_mm = 0.1 * max(source.spacing_mm)
    for mask, grid in ((forward, working), (back, source)):
        assert centroid_mm(mask, grid.affine) == pytest.approx(CENTRE_MM, abs=tolerance_mm)
        assert mask.sum() * grid.voxel_ml == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.12)


def test_nested_masks_stay_nested_when_resampled():
    source = grid_around_ball(rotation(20), (48, 48, 48))
    outer = ball(source)
    inner = outer & (np.random.default_rng(0).random(source.shape) < 0.7)
    target = grid_around_ball(np.diag([1.3, 0.7, 2.0]), (40, 60, 24))
    assert not (resample_mask(inner, source, target) & ~resample_mask(outer, source, target)).any()


def test_a_working_grid_larger_than_any_head_is_rejected():
    with pytest.raises(GeometryError, match="at most 34 litres, found 451 x 451 x 451 mm"):
        working_grid(Grid((4, 4, 4), np.diag([-150.0, -150, 150, 1])))


def test_a_field_of_view_larger_than_any_head_is_rejected():
    with pytest.raises(GeometryError, match="512 mm along each axis, found 2390 x 239 x 154 mm"):
        working_grid(Grid((240, 240, 155), np.diag([-10.0, -1, 1, 1])))


def test_a_box_of_a_grid_has_the_values_of_the_whole_grid():
    source = grid_around_ball(rotation(20), (40, 42, 44))
    volume = Volume(np.random.default_rng(0).random(source.shape).astype(np.float32), source.affine)
    box = slice(3, 30), slice(5, 25), slice(10, 40)
    for target in (working_grid(source), source):
        assert np.allclose(resample(volume, target, box), resample(volume, target)[box], atol=1e-5)
