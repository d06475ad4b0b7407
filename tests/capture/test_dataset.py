"""Datasets on disk: scenes are read as written, appear complete or not at all, and are never mixed up."""

import json
import os
import resource
import signal
import subprocess
import sys
from typing import Any

import h5py
import numpy as np
import pytest

from sweepdepth.capture.atomic import PartialFile
from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.events import FALLING, RISING, make_events, make_triggers
from sweepdepth.capture.files.dataset import (
    DiskFullError,
    Manifest,
    SceneRecording,
    SceneTruth,
    create_dataset,
    open_dataset,
    read_scene,
    read_truth,
    remove_partial_scenes,
    scene_path,
    write_scene,
)
from sweepdepth.capture.files.description import describe
from sweepdepth.capture.files.photographs import Photographs
from sweepdepth.capture.recordings import open_recording


@pytest.fixture
def scene(calibration):
    """A scene with all optional parts and random content."""
    random = np.random.default_rng(0)
    h, w = calibration.camera.height, calibration.camera.width
    count = 5000
    events = make_events(
        np.sort(random.integers(0, 400_000, count)),
        random.integers(0, w, count),
        random.integers(0, h, count),
        random.integers(0, 2, count),
    )
    truth = SceneTruth(
        calibration=calibration,
        depth=random.uniform(0.4, 2, (h, w)).astype(np.float32),
        intensity=random.uniform(0, 1, (h, w)).astype(np.float32),
        focal_stack=random.uniform(0, 1, (3, h, w)).astype(np.float32),
        focal_stack_diopters=np.array([0.6, 1.5, 2.4]),
        aperture_pair=Photographs(
            random.uniform(0, 1, (4, h, w)).astype(np.float32),
            np.array([1.6, 1.4, 1.5, 1.5]),
            np.array([0.9, 0.9, 1.0, 0.8]),
        ),
        photographs={
            "defocused": Photographs(random.uniform(0, 1, (1, h, w)).astype(np.float32), np.ones(1), np.ones(1)),
            "focus_pair": Photographs(
                random.uniform(0, 1, (2, h, w)).astype(np.float32), np.array([0.8, 2.0]), np.ones(2)
            ),
        },
        attributes={"seed": 7, "index": 42, "variant": 0, "scene": json.dumps({"things": ["box"]}), "light": 0.5},
    )
    triggers = make_triggers(np.array([0, 200_000, 400_000]), np.array([RISING, FALLING, RISING], np.uint8))
    return SceneRecording(events, triggers, truth)


MANIFEST = Manifest(seed=3, configuration={"sweeps": 4, "lens": {"f_number": [1.2, 2.0]}}, versions={"numpy": "1"})


def test_scenes_are_read_as_written(tmp_path, scene):
    path = scene_path(tmp_path, 42)
    write_scene(path, scene)
    assert path.name == "scene_000042.h5"
    again = read_scene(path)
    assert np.array_equal(again.events, scene.events)
    assert np.array_equal(again.triggers, scene.triggers)
    for truth in (again.truth, read_truth(path)):
        assert truth.calibration == scene.truth.calibration
        assert dict(truth.attributes) == dict(scene.truth.attributes)
        for name in ("depth", "intensity", "focal_stack", "focal_stack_diopters"):
            assert np.array_equal(getattr(truth, name), getattr(scene.truth, name))
        for name in ("images", "diopters", "aperture_scale"):
            assert np.array_equal(getattr(truth.aperture_pair, name), getattr(scene.truth.aperture_pair, name))
            for plan, photographs in scene.truth.photographs.items():
                assert np.array_equal(getattr(truth.photographs[plan], name), getattr(photographs, name))
        assert truth.photographs.keys() == scene.truth.photographs.keys()


def test_a_scene_is_a_recording_that_any_reader_of_recordings_opens(tmp_path, scene):
    write_scene(path := tmp_path / "scene_000000.h5", scene)
    with open_recording(path) as recording:
        events, triggers = recording.read()
        assert recording.calibration == scene.truth.calibration
        assert not recording.repairs
    assert np.array_equal(events, scene.events)
    assert np.array_equal(triggers, scene.triggers)


def test_the_layout_is_as_documented(tmp_path, scene):
    write_scene(path := tmp_path / "scene_000000.h5", scene)
    with h5py.File(path) as opened:
        file: Any = opened
        assert {"events", "ms_to_idx", "t_offset", "triggers", "depth", "intensity"} <= set(file)
        assert (file["depth"].dtype, file["depth"].shape) == (np.float32, (72, 96))
        assert (file["focal_stack"].dtype, file["focal_stack"].shape) == (np.float32, (3, 72, 96))
        assert file["events/t"].dtype == np.int64
        assert (file.attrs["width"], file.attrs["height"]) == (96, 72)
        assert file["ms_to_idx"][100] == np.searchsorted(scene.events["timestamp"], 100_000)


def test_optional_images_may_be_left_out_and_a_scene_may_have_no_events(tmp_path, scene):
    truth = SceneTruth(scene.truth.calibration, scene.truth.depth, scene.truth.intensity)
    write_scene(path := tmp_path / "scene_000000.h5", SceneRecording(scene.events[:0], scene.triggers, truth))
    again = read_scene(path)
    assert len(again.events) == 0
    assert again.truth.focal_stack is None
    assert again.truth.aperture_pair is None
    assert not again.truth.photographs


def test_photographs_without_their_focus_are_refused(tmp_path, scene):
    write_scene(path := tmp_path / "scene_000000.h5", scene)
    with h5py.File(path, "r+") as file:
        file["photographs/focus_pair"].attrs["diopters"] = np.array([1.0])
    with pytest.raises(RecordingError, match="photographs/focus_pair has 2 images and another number of focus"):
        read_scene(path)


def test_the_same_scene_gives_the_same_bytes(tmp_path, scene):
    for name in ("a.h5", "b.h5"):
        write_scene(tmp_path / name, scene)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_scene_descriptions_may_be_long(tmp_path, scene):
    story = json.dumps(["box"] * 50_000)
    truth = SceneTruth(scene.truth.calibration, scene.truth.depth, scene.truth.intensity, attributes={"scene": story})
    write_scene(path := tmp_path / "scene_000000.h5", SceneRecording(scene.events, scene.triggers, truth))
    assert read_truth(path).attributes["scene"] == story


def test_images_of_another_size_are_refused(tmp_path, scene):
    truth = SceneTruth(scene.truth.calibration, scene.truth.depth[1:], scene.truth.intensity)
    with pytest.raises(ValueError, match="depth of shape"):
        write_scene(tmp_path / "scene_000000.h5", SceneRecording(scene.events, scene.triggers, truth))


def test_a_dataset_counts_complete_scenes_only(tmp_path, scene):
    create_dataset(tmp_path, MANIFEST)
    for index, variant in ((0, 0), (2, 0), (2, 1), (3, 1)):
        write_scene(scene_path(tmp_path, index, variant), scene)
    (tmp_path / ".scene_000001.h5.host-1-0.partial.h5").write_bytes(b"cut short")
    dataset = open_dataset(tmp_path)
    assert [path.name for path in dataset.scenes] == ["scene_000000.h5", "scene_000002.h5", "scene_000002_v1.h5"]
    assert dataset.indices == (0, 2)
    assert dataset.missing(5) == [1, 3, 4]
    assert dataset.manifest == MANIFEST


def test_a_dataset_describes_its_content(tmp_path, scene):
    create_dataset(tmp_path, MANIFEST)
    assert describe(tmp_path)["dataset"]["scenes"] == "0, in 0 recordings"
    for index, variant in ((0, 0), (1, 1), (1, 0)):
        write_scene(scene_path(tmp_path, index, variant), scene)
    counted = []
    facts = describe(tmp_path, on_progress=counted.append)["dataset"]
    assert counted == [5000, 10_000, 15_000]
    assert facts["scenes"] == "2, in 3 recordings"
    assert facts["events"] == 15_000
    assert facts["events a recording"] == "5,000 to 5,000, median 5,000"
    assert facts["sensor"] == "96×72 pixels"
    assert facts["versions"] == "numpy 1"


def test_the_same_dataset_may_be_continued_and_another_may_not(tmp_path):
    create_dataset(tmp_path / "new" / "folder", MANIFEST)
    create_dataset(tmp_path / "new" / "folder", MANIFEST)
    with pytest.raises(RecordingError, match=r"another seed \(3, now 4\); choose another folder"):
        create_dataset(tmp_path / "new" / "folder", Manifest(4, MANIFEST.configuration))
    with pytest.raises(RecordingError, match=r"another configuration\.lens\.f_number \(\[1\.2, 2\.0\], now 1\.4\)"):
        create_dataset(tmp_path / "new" / "folder", Manifest(3, {"sweeps": 4, "lens": {"f_number": 1.4}}))


def test_other_files_than_datasets_and_scenes_are_refused(tmp_path, scene):
    with pytest.raises(RecordingError, match="is not a dataset"):
        open_dataset(tmp_path)
    with pytest.raises(RecordingError, match="is not a dataset"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "dataset.json").write_text('{"format": "sweepdepth-dataset/9"}')
    with pytest.raises(RecordingError, match="sweepdepth-dataset/9"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(RecordingError, match="damaged"):
        open_dataset(tmp_path)
    write_scene(path := tmp_path / "scene_000000.h5", scene)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RecordingError, match="cannot be read as a scene"):
        read_scene(path)
    with h5py.File(path, "w") as file:
        file["depth"] = 1.0
    with pytest.raises(RecordingError, match=r"scene_000000\.h5: is damaged, or no scene"):
        read_truth(path)


def test_scenes_without_a_manifest_are_not_adopted(tmp_path, scene):
    write_scene(tmp_path / "scene_000000.h5", scene)
    with pytest.raises(RecordingError, match=r"has scenes .* but no dataset\.json"):
        create_dataset(tmp_path, MANIFEST)


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path, scene):
    """A limit on file size simulates a full disk: writing fails midway."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, old[1]))
    try:
        with pytest.raises(DiskFullError, match="the disk is full; make room"):
            write_scene(tmp_path / "scene_000000.h5", scene)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_scene_and_its_temporary_file_can_be_removed(tmp_path, scene):
    code = f"""
import io, os
from pathlib import Path
from sweepdepth.capture.files import dataset
dataset.io.BytesIO = lambda data: os.kill(os.getpid(), 9)
scene = dataset.read_scene({str(tmp_path / "other.h5")!r})
dataset.write_scene(Path({str(tmp_path / "scene_000000.h5")!r}), scene)
"""
    write_scene(tmp_path / "other.h5", scene)
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == -signal.SIGKILL
    assert not (tmp_path / "scene_000000.h5").exists()
    assert len(list(tmp_path.glob(".scene_000000*"))) == 1
    mine = PartialFile(tmp_path / "scene_000001.h5", force=True)
    remove_partial_scenes(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [mine.path.name, "other.h5"]
    mine.discard()
