"""Rendered focal stacks as pools; and packed into a twentieth of their space, to travel to where the GPU is.

A pack is a NumPy archive: of the logarithm of each pixel's radiance, the cosine transform over the sweep, in steps that
leave an error of 0.01 (a tenth of a low threshold), most of them 0; positions in 1/500 of the range.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.fft import dct, idct

from ...capture.dataset import SceneTruth, open_dataset, read_scene
from ...capture.errors import RecordingError, one_line
from ...capture.optics import to_diopters
from ...capture.recordings.atomic import PartialFile
from .lens import FOCUS_SAMPLES, Lens
from .pool import Pool

STEP = 0.04
_DARKEST = 1e-4
_POSITION_STEP = 2e-3
_KEYS = {"means", "waves", "position", "lens"}
SUFFIX = ".pack"


def split_pool(pool: Pool, share: float) -> tuple[Pool, Pool]:
    """A pool without its last scenes, and one of these: `share` of all, at least one."""
    kept = max(1, round(share * pool.size))

    def part(chosen: slice) -> Pool:
        return Pool(pool.stacks[chosen], pool.position[chosen], Lens(*(value[chosen] for value in pool.lens)))

    return part(slice(0, pool.size - kept)), part(slice(pool.size - kept, None))


def load_pool(
    paths: Iterable[Path], device: torch.device | str = "cpu", on_scene: Callable[[int], None] = lambda done: None
) -> Pool:
    """The rendered focal stacks of datasets and packs, all of one frame size.

    Raises:
        RecordingError: there are none, or not of one size.
    """
    pools = []
    for path in paths:
        if path.is_file():
            pools.append(read_pack(path, device))
        else:
            pools.append(pool_of(truths_of(path, on_scene), device))
    sizes = {pool.stacks.shape[1:] for pool in pools}
    if len(sizes) != 1:
        shown = ", ".join(f"{s[2]}×{s[1]}" for s in sizes) or "none"
        raise RecordingError(f"rendered scenes have to be of one frame size, but there are {shown}")
    return Pool(
        torch.cat([pool.stacks for pool in pools]),
        torch.cat([pool.position for pool in pools]),
        Lens(*(torch.cat(values) for values in zip(*(pool.lens for pool in pools), strict=True))),
    )


def truths_of(dataset: Path, on_scene: Callable[[int], None] = lambda done: None) -> Iterator[SceneTruth]:
    """What is true of each scene of a dataset, without its variants."""
    for number, file in enumerate(open_dataset(dataset).first_variants, 1):
        yield read_scene(file).truth
        on_scene(number)


def pool_of(truths: Iterable[SceneTruth], device: torch.device | str = "cpu") -> Pool:
    """A pool of a dataset's noise-free focal stacks; scenes without one are left out.

    Raises:
        RecordingError: there is none.
    """
    stacks, positions, lenses = [], [], []
    for truth in truths:
        part = _scene(truth)
        if part is not None:
            for whole, one in zip((stacks, positions, lenses), part, strict=True):
                whole.append(one)
    if not stacks:
        raise RecordingError(
            f"there are no focal stacks to simulate from; render with [intensity] frames = {FOCUS_SAMPLES} and "
            "noise = false"
        )
    return _pool(np.stack(stacks), np.stack(positions), np.stack(lenses), device)


def write_pack(
    path: Path,
    truths: Iterable[SceneTruth],
    *,
    force: bool = False,
) -> int:
    """Pack all scenes that have a noise-free focal stack; returns how many.

    Raises:
        RecordingError: there is none, or the file exists and `force` is not given.
    """
    means, waves, positions, lenses = [], [], [], []
    for truth in truths:
        part = _scene(truth)
        if part is None:
            continue
        stack, position, lens = part
        spectrum = dct(np.log(np.maximum(stack, _DARKEST)), axis=0, norm="ortho")
        levels = np.rint(spectrum / _steps())
        means.append(_differences(levels[0]))
        waves.append(levels[1:].clip(-127, 127).astype(np.int8))
        positions.append(_differences(np.rint(position.clip(-8, 8) / _POSITION_STEP)))
        lenses.append(lens)
    if not lenses:
        raise RecordingError("there are no noise-free focal stacks to pack")
    partial = PartialFile(path, force=force)
    try:
        with partial.path.open("wb") as file:
            np.savez_compressed(file, means=means, waves=waves, position=positions, lens=lenses)
        partial.commit()
    finally:
        partial.discard()
    return len(lenses)


def read_pack(path: Path, device: torch.device | str = "cpu") -> Pool:
    """The pool of a pack.

    Raises:
        RecordingError: it is missing, damaged or no pack.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if set(archive.files) != _KEYS:
                raise ValueError(f"it holds {', '.join(archive.files)}")
            means, waves, position = archive["means"], archive["waves"], archive["position"]
            lens = archive["lens"]
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise RecordingError(f"{path}: is no pack of focal stacks, or damaged: {one_line(error)}") from error
    count, frame = len(lens), position.shape[1:]
    sizes = [(count, *frame), (count, FOCUS_SAMPLES - 1, *frame), (count, *frame), (count, len(Lens._fields))]
    if [array.shape for array in (means, waves, position, lens)] != sizes or len(frame) != 2 or not count:
        raise RecordingError(f"{path}: its arrays do not fit together")
    radiance = np.empty((count, FOCUS_SAMPLES, *frame), np.float16)
    for at in range(count):
        levels = np.concatenate([np.cumsum(means[at], axis=-1)[None], waves[at]]).astype(np.float32)
        logarithm: np.ndarray = idct(levels * _steps(), axis=0, norm="ortho")  # pyright: ignore[reportAssignmentType]
        radiance[at] = np.exp(logarithm)
    position = np.cumsum(position, axis=-1).astype(np.float32) * _POSITION_STEP
    return _pool(radiance, position, lens, device)


def _steps() -> np.ndarray:
    """(F, 1, 1) float32: quantisation of the transform; fast changes are rounded more."""
    return (STEP * (1 + 0.1 * np.arange(FOCUS_SAMPLES, dtype=np.float32)))[:, None, None]


def _differences(image: np.ndarray) -> np.ndarray:
    """(H, W) int16: each pixel less its left neighbour; small numbers pack well."""
    return np.diff(image, axis=-1, prepend=0).astype(np.int16)


def _scene(truth: SceneTruth) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Stack, position and lens of one scene, if it has an even, ideal stack that spans the sweep."""
    stack, diopters, calibration = truth.focal_stack, truth.focal_stack_diopters, truth.calibration
    sweep, lens, breathing = calibration.sweep, calibration.lens, calibration.breathing
    if stack is None or diopters is None or len(stack) != FOCUS_SAMPLES:
        return None
    if not np.allclose(diopters, np.linspace(sweep.far_diopters, sweep.near_diopters, FOCUS_SAMPLES), rtol=1e-4):
        return None
    span = sweep.range_diopters
    position = (to_diopters(truth.depth) - sweep.far_diopters) / span
    camera = calibration.camera
    about = Lens(
        camera.fx * lens.aperture_m * span,
        0.0 if breathing is None else breathing.scale_per_diopter * span,
        0.0 if breathing is None else breathing.center[0] - camera.width / 2,
        0.0 if breathing is None else breathing.center[1] - camera.height / 2,
        lens.f_number,
        camera.pixel_pitch_um,
    )
    return stack.astype(np.float32), position.astype(np.float32), np.array(about, np.float32)


def _pool(stacks: np.ndarray, position: np.ndarray, lens: np.ndarray, device: torch.device | str) -> Pool:
    columns = torch.from_numpy(np.ascontiguousarray(lens.T)).to(device)
    return Pool(
        torch.from_numpy(stacks).to(device).half(),
        torch.from_numpy(position).to(device).half(),
        Lens(*columns),
    )
