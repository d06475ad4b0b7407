"""The generation configuration: valid files, and the random draws from them."""

import numpy as np
import pytest

from sweepdepth.synth.generation.config import ConfigError, GenerationConfig
from sweepdepth.synth.generation.draws import sample_calibration, sample_sensor, sample_window
from sweepdepth.synth.sensor.presets import PRESETS

DEFAULT = GenerationConfig()


def test_an_empty_file_is_a_configuration_and_a_number_is_a_narrow_range(tmp_path):
    (path := tmp_path / "generation.toml").write_text("")
    assert GenerationConfig.load(path) == DEFAULT
    path.write_text("sweeps = 2\n[lens]\nfocal_length_mm = 12\nf_number = [1.4, 2.0]\nblur_px = [0, 1000]\n")
    config = GenerationConfig.load(path, variants=3, scene={"adversarial": 0.5})
    assert (config.sweeps, config.variants, config.scene.adversarial) == (2, 3, 0.5)
    lenses = [sample_calibration(0, i, config).lens for i in range(50)]
    assert {lens.focal_length_mm for lens in lenses} == {12.0}
    assert 1.4 <= min(lens.f_number for lens in lenses) < max(lens.f_number for lens in lenses) <= 2.0


@pytest.mark.parametrize(
    "text, message",
    [
        ("sweeps = 0", r"sweeps \(0\): must be at least 1"),
        ("focus = 3", r"focus \(3\) is not a known key"),
        ("[camera]\nwidht = 346", r"camera\.widht \(346\) is not a known key; did you mean width\?"),
        ("[sensors]\nleak = 1", r"sensors is not a known section; did you mean sensor\?"),
        ("[lens]\nf_number = [2.8, 1.4]", r"f_number: the range \[2\.8, 1\.4\] must go from the lowest"),
        ('[sensor]\npreset = "davis240"', r"there is no sensor 'davis240'; there are davis346"),
        ('render = "dof"\n[intensity]\naperture_pair = true', "intensity.aperture_pair: other apertures come from"),
        ('render = "dof"\n[intensity]\nphotographs = true', "intensity.photographs: other apertures come from"),
        ("[camera]\nwindow = { width = 400, height = 96 }", "window: 400×96 must lie within 346×260"),
        ("[lens", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_key_value_and_what_was_expected(tmp_path, text, message):
    (path := tmp_path / "generation.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"generation\.toml: .*{message}"):
        GenerationConfig.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        GenerationConfig.load(tmp_path / "none.toml")


def test_a_configuration_survives_json():
    assert GenerationConfig.model_validate_json(DEFAULT.model_dump_json()) == DEFAULT


def test_scene_i_depends_on_the_seed_i_and_the_configuration_alone():
    assert sample_calibration(1, 7, DEFAULT) == sample_calibration(1, 7, DEFAULT)
    assert sample_sensor(1, 7, 0, DEFAULT) == sample_sensor(1, 7, 0, DEFAULT)
    others = [sample_calibration(1, 8, DEFAULT), sample_calibration(2, 7, DEFAULT)]
    assert sample_calibration(1, 7, DEFAULT) not in others
    sensors = [sample_sensor(*key, DEFAULT) for key in ((1, 7, 0), (1, 7, 1), (1, 8, 0), (2, 7, 0))]
    assert len({sensor.model_dump_json() for sensor, _ in sensors}) == 4
    assert len({lux for _, lux in sensors}) == 4


def test_lenses_blur_as_much_as_asked_and_focal_lengths_fit_the_pitch():
    for index in range(200):
        calibration = sample_calibration(0, index, DEFAULT)
        camera, lens, sweep = calibration.camera, calibration.lens, calibration.sweep
        blur = camera.fx * lens.aperture_m * sweep.range_diopters
        assert DEFAULT.lens.blur_px[0] <= blur <= DEFAULT.lens.blur_px[1]
        np.testing.assert_allclose(camera.fx * camera.pixel_pitch_um, lens.focal_length_mm * 1000)
        assert sweep.sync == "trigger"


def test_a_window_keeps_the_optics_and_lies_anywhere_on_the_sensor():
    config = GenerationConfig.parse({"camera": {"window": {"width": 128, "height": 96}}})
    corners = []
    for index in range(100):
        whole = sample_calibration(0, index, config)
        part = sample_window(0, index, config, whole)
        assert (part.camera.width, part.camera.height) == (128, 96)
        assert (part.camera.fx, part.lens, part.sweep) == (whole.camera.fx, whole.lens, whole.sweep)
        assert whole.breathing is not None
        assert part.breathing is not None
        left, top = whole.camera.cx - part.camera.cx, whole.camera.cy - part.camera.cy
        x, y = whole.breathing.center
        assert part.breathing.center == (x - left, y - top)
        corners.append((left, top))
    assert np.min(corners) >= 0
    assert (np.max(corners, axis=0) <= (346 - 128, 260 - 96)).all()
    assert (np.ptp(corners, axis=0) > (150, 100)).all()
    everything = sample_calibration(0, 3, DEFAULT)
    assert sample_window(0, 3, DEFAULT, everything) is everything


def test_given_keys_override_a_preset():
    fixed = GenerationConfig.parse({"sensor": {"preset": "davis346", "on_threshold": [0.1, 0.3]}})
    thresholds = set()
    for index in range(20):
        sensor, _ = sample_sensor(0, index, 0, fixed)
        thresholds.add(sensor.on_threshold)
        assert 0.1 <= sensor.on_threshold <= 0.3
        assert sensor.model_copy(update={"on_threshold": 0}) == PRESETS["davis346"].model_copy(
            update={"on_threshold": 0}
        )
    assert len(thresholds) == 20


def test_configurations_with_equal_user_files_are_equal(tmp_path):
    (blend := tmp_path / "scene.blend").write_bytes(b"one")
    config = GenerationConfig.parse({"scene": {"blend": blend}})
    before = config.fingerprint()
    assert config.fingerprint() == before
    assert GenerationConfig.parse({"scene": {"blend": blend}, "rendering": {"threads": 3}}).fingerprint() == before
    blend.write_bytes(b"two")
    assert config.fingerprint() != before
    blend.unlink()
    with pytest.raises(ConfigError, match=r"scene\.blend: cannot be read"):
        config.fingerprint()


def test_the_fingerprint_of_traced_light_is_that_of_datasets_from_before_there_was_other():
    assert "lighting" not in DEFAULT.fingerprint()["rendering"]
    computed = GenerationConfig.parse({"rendering": {"lighting": "computed"}})
    assert computed.fingerprint()["rendering"]["lighting"] == "computed"


def test_light_of_models_is_not_computed(tmp_path):
    for key, value in (("blend", tmp_path / "room.blend"), ("assets", [tmp_path / "chair.glb"])):
        values = {"rendering": {"lighting": "computed"}, "scene": {key: value}}
        with pytest.raises(ConfigError, match=rf'scene\.{key}: .*lighting = "traced"'):
            GenerationConfig.parse(values)
