"""Packs of focal stacks: unpacking restores the content, and damaged packs are refused."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sweepdepth import Calibration
from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.events import make_events, make_triggers
from sweepdepth.capture.files.dataset import (
    Manifest,
    SceneRecording,
    SceneTruth,
    create_dataset,
    open_dataset,
    read_scene,
    scene_path,
    write_scene,
)
from sweepdepth.capture.files.stack_pack import StackPack, write_pack


@pytest.fixture
def dataset(tmp_path, lens):
    """Two scenes with ideal stacks, one of them of strong contrast, and one with a camera's frames of instants."""
    calibration = Calibration.parse(lens)
    camera, sweep = calibration.camera, calibration.sweep
    folder = tmp_path / "data"
    create_dataset(folder, Manifest(0, {}, {}))
    random = np.random.default_rng(0)
    none = np.empty(0, np.int64)
    for index in range(3):
        focus = np.linspace(sweep.far_diopters, sweep.near_diopters, 25)
        noise = gaussian_filter(random.normal(size=(25, camera.height, camera.width)), (3, 1, 1))
        stack = np.exp((0.5 + index) * noise / noise.std() - 2).astype(np.float32)
        depth = 1 / np.linspace(sweep.far_diopters - 0.1, sweep.near_diopters, camera.width)
        depth = np.tile(depth.astype(np.float32), (camera.height, 1))
        depth[0, 0], depth[1, 1] = np.inf, np.nan
        if index == 2:
            focus = (focus[1:] + focus[:-1]) / 2
            stack = stack[1:]
        truth = SceneTruth(calibration, depth, stack[0], stack, focus)
        events = make_events(none, none, none, none), make_triggers(none, none)
        write_scene(scene_path(folder, index, 0), SceneRecording(*events, truth))
    return open_dataset(folder)


def test_stacks_and_depth_are_restored(tmp_path, dataset):
    seen = []
    assert write_pack(tmp_path / "a.pack", dataset, on_scene=seen.append) == 2
    assert seen == [1, 2, 3]
    pack = pickle.loads(pickle.dumps(StackPack(tmp_path / "a.pack")))
    assert len(pack) == 2
    for scene, file in zip(pack, dataset.first_variants, strict=False):
        truth = read_scene(file).truth
        assert truth.focal_stack is not None
        assert truth.focal_stack_diopters is not None
        assert scene.calibration == truth.calibration
        np.testing.assert_array_equal(scene.focus_diopters, truth.focal_stack_diopters)
        error = np.log(scene.stack) - np.log(np.maximum(truth.focal_stack, 1e-4))
        assert np.sqrt(np.mean(error**2)) < 0.04
        span = truth.calibration.sweep.range_diopters
        known = np.isfinite(truth.depth)
        np.testing.assert_allclose(1 / scene.depth[known], 1 / truth.depth[known], atol=span / 900)
        assert np.isnan(scene.depth[1, 1])
    assert (tmp_path / "a.pack").stat().st_size < 0.3 * sum(file.stat().st_size for file in dataset.first_variants)
    write_pack(tmp_path / "b.pack", dataset)
    assert (tmp_path / "a.pack").read_bytes() == (tmp_path / "b.pack").read_bytes()


@pytest.mark.parametrize("render", ["scenes", "patches"])
def test_a_pack_says_whether_its_scenes_are_patches(tmp_path, dataset, render):
    """Validation prefers rendered scenes."""
    manifest = dataset.folder / "dataset.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"configuration": {"render": render}}))
    write_pack(tmp_path / "a.pack", open_dataset(dataset.folder))
    pack = StackPack(tmp_path / "a.pack")
    assert pack.patches == (render == "patches")
    assert pack.names == ["scene_000000", "scene_000001"]


def test_existing_packs_are_kept_and_damaged_ones_refused(tmp_path, dataset):
    path = tmp_path / "a.pack"
    write_pack(path, dataset)
    scene = next(dataset.folder.glob("*.h5"))
    with pytest.raises(RecordingError, match="holds a scene of a dataset"):
        write_pack(scene, dataset, force=True)
    with pytest.raises(RecordingError, match="exists"):
        write_pack(path, dataset)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(RecordingError, match=r"a\.pack"):
        StackPack(path)
    path.write_bytes(whole[:200] + bytes(50) + whole[250:])
    with pytest.raises(RecordingError, match=r"scene_000000\.npz is damaged"):
        StackPack(path)[0]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "")
    with pytest.raises(RecordingError, match="synth pack"):
        StackPack(path)
    with pytest.raises(RecordingError, match="missing"):
        StackPack(tmp_path / "missing.pack")
    for file in dataset.first_variants[:2]:
        file.unlink()
    with pytest.raises(RecordingError, match="no ideal focal stacks"):
        write_pack(tmp_path / "b.pack", open_dataset(dataset.folder))
    assert not list(tmp_path.glob("*b.pack*"))
