"""Cases: every sweep whose depth is known, wherever it is kept."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.events import Batch
from sweepdepth.capture.files.dataset import read_scene
from sweepdepth.capture.recordings import write_recording
from sweepdepth.capture.sweeps import Direction
from sweepdepth.net.cases import NotApplicable, as_frames, find_cases, frames_at_30_fps

from .known_sweeps import SWEEP_US, make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, calibration, textured_planes):
    return make_dataset(tmp_path_factory.mktemp("cases") / "data", calibration, textured_planes)


def test_a_dataset_gives_every_sweep_of_every_scene_with_its_own_events_and_truth(dataset):
    cases = list(find_cases(dataset))
    assert [(case.recording, case.index) for case in cases] == [
        (f"scene_00000{scene}", sweep) for scene in (0, 1) for sweep in (0, 1)
    ]
    scene = read_scene(dataset / "scene_000000.h5")
    there, back = cases[:2]
    assert (there.sweep.direction, back.sweep.direction) == (Direction.FAR_TO_NEAR, Direction.NEAR_TO_FAR)
    assert len(there.events) + len(back.events) == len(scene.events)
    assert there.events["timestamp"].max() < SWEEP_US <= back.events["timestamp"].min()
    np.testing.assert_array_equal(there.truth, scene.truth.depth)
    assert there.frames is not None
    assert there.frames.shape == (12, 72, 96)
    assert there.aperture_pair is not None
    assert there.aperture_pair.images.shape == (4, 72, 96)
    assert [case.illuminance_lux for case in cases] == [50.0, 50.0, 300.0, 300.0]


def test_a_folder_of_recordings_with_their_depth_beside_them_gives_the_same_sweeps(tmp_path, dataset):
    known = list(find_cases(dataset / "scene_000001.h5"))
    scene = read_scene(dataset / "scene_000001.h5")
    batch = Batch(scene.events, scene.triggers, 2 * SWEEP_US + 1)
    write_recording(tmp_path / "strips.aedat4", [batch], 96, 72, scene.truth.calibration, force=False)
    (tmp_path / "strips.toml").write_text(scene.truth.calibration.to_toml())
    np.save(tmp_path / "strips_depth.npy", scene.truth.depth)
    for path in (tmp_path, tmp_path / "strips.aedat4"):
        cases = list(find_cases(path))
        assert [case.recording for case in cases] == ["strips", "strips"]
        for case, same in zip(cases, known, strict=True):
            np.testing.assert_array_equal(case.events["timestamp"], same.events["timestamp"])
            np.testing.assert_array_equal(case.truth, same.truth)
            assert case.sweep.direction == same.sweep.direction
            assert case.frames is None
            assert case.illuminance_lux is None


def test_a_damaged_scene_is_skipped_and_named(tmp_path, calibration, textured_planes):
    folder = make_dataset(tmp_path / "data", calibration, textured_planes)
    whole = (folder / "scene_000000.h5").read_bytes()
    (folder / "scene_000000.h5").write_bytes(whole[: len(whole) // 2])
    skipped = []
    cases = list(find_cases(folder, lambda source, reason: skipped.append((source.name, reason))))
    assert {case.recording for case in cases} == {"scene_000001"}
    assert [name for name, _ in skipped] == ["scene_000000"]
    assert "scene_000000.h5" in skipped[0][1]
    with pytest.warns(UserWarning, match="skipped scene_000000"):
        assert len(list(find_cases(folder))) == 2


def test_depth_of_another_size_or_without_a_recording_is_skipped_too(tmp_path, dataset):
    scene = read_scene(dataset / "scene_000000.h5")
    batch = Batch(scene.events, scene.triggers, 2 * SWEEP_US + 1)
    write_recording(tmp_path / "a.h5", [batch], 96, 72, scene.truth.calibration, force=False)
    np.save(tmp_path / "a_depth.npy", scene.truth.depth[:-1])
    np.save(tmp_path / "b_depth.npy", scene.truth.depth)
    write_recording(tmp_path / "c.h5", [batch], 96, 72, scene.truth.calibration, force=False)
    np.save(tmp_path / "c_depth.npy", 1000 * scene.truth.depth)
    skipped = {}
    assert not list(find_cases(tmp_path, lambda source, reason: skipped.update({source.name: reason})))
    assert "(71, 96)" in skipped["a"]
    assert "b.aedat4" in skipped["b"]
    assert "so in millimetres; metres are expected" in skipped["c"]


def test_sources_without_truth_are_refused_in_one_line(tmp_path, dataset):
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("no recording")
    with h5py.File(dataset / "scene_000000.h5") as file, h5py.File(tmp_path / "blind.h5", "w") as copy:
        file.copy("events", copy)
    for name, complaint in (
        ("empty", "neither"),
        ("nowhere", "no such"),
        ("words.txt", "depth"),
        ("blind.h5", "depth"),
    ):
        with pytest.raises(RecordingError, match=complaint) as caught:
            find_cases(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.fixture
def photographed(dataset):
    """A case, its frames and their focus."""
    case = next(find_cases(dataset))
    assert case.frames is not None
    assert case.frame_diopters is not None
    return case, case.frames, case.frame_diopters


def test_fewer_frames_are_averages_of_equal_spans(photographed):
    case, frames, focus = photographed
    halves, diopters = as_frames(case, 2)
    np.testing.assert_allclose(halves[0], frames[:6].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(diopters, [1.0, 2.0])
    fifths, diopters = as_frames(case, 5)  # spans of 2.4 frames
    np.testing.assert_allclose(fifths[0], (frames[0] + frames[1] + 0.4 * frames[2]) / 2.4, atol=1e-6)
    assert diopters[0] == pytest.approx((focus[:2].sum() + 0.4 * focus[2]) / 2.4)
    np.testing.assert_allclose(fifths.mean(axis=0), frames.mean(axis=0), atol=1e-6)


def test_resampling_never_adds_frames(photographed):
    case, frames, focus = photographed
    same, diopters = as_frames(case, 50)
    np.testing.assert_allclose(same, frames, rtol=1e-6)
    np.testing.assert_allclose(diopters, focus)


def test_an_ordinary_camera_takes_thirty_frames_a_second(dataset):
    assert frames_at_30_fps(next(find_cases(dataset))) == 6  # in 0.2 s


def test_without_intensity_frames_a_method_on_frames_does_not_apply(dataset):
    with pytest.raises(NotApplicable, match=r"scene_000000.*frames"):
        as_frames(replace(next(find_cases(dataset)), frames=None), 4)
