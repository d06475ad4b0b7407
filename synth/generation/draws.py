"""Samples one scene's parameters from a configuration: lens, sweep, camera, sensor and light."""

from typing import Any

from ...capture.calibration import Breathing, Calibration, CameraModel, LensModel, SweepSettings
from ...capture.optics import breathing_magnification
from ..scenes.random_source import RandomSource
from ..sensor import Sensor
from ..sensor.presets import PRESETS
from .config import ConfigError, GenerationConfig, LightRange, SensorRange

_LENS, _SENSOR, _WINDOW = 11, 12, 14  # independent random streams
_MOST_DRAWS = 1000

ANY_SENSOR: dict[str, tuple[float, float]] = {
    "on_threshold": (0.10, 1.0),
    "off_threshold": (0.10, 1.0),
    "threshold_sigma": (0.01, 0.05),
    "dark_level": (5e-5, 1e-3),
    "stray_light": (0.001, 0.01),
    "bandwidth_hz": (100.0, 5000.0),
    "refractory_us": (10.0, 1000.0),
    "leak_hz": (0.01, 0.3),
    "shot_noise_hz": (0.001, 5.0),
    "hot_fraction": (0.0, 1e-4),
    "hot_hz": (30.0, 150.0),
    "delay_us": (5.0, 100.0),
    "resolution_us": (1.0, 1.0),
}
"""Ranges that include the sensors of `presets` and v2e's "clean" and "noisy" with some margin. Thresholds go up to 1,
since real recordings were matched best by such values (Stoffregen et al., ECCV 2020, drew from 0.1 to 1.7)."""

_ASYMMETRY = 1.5
"""Largest ratio between ON and OFF threshold, either way, if no OFF threshold is configured (V2V, NeurIPS 2025)."""

_BY_RATIO = {
    "on_threshold",
    "off_threshold",
    "dark_level",
    "bandwidth_hz",
    "refractory_us",
    "leak_hz",
    "shot_noise_hz",
    "delay_us",
}


def sample_calibration(seed: int, index: int, config: GenerationConfig) -> Calibration:
    """Draw lens, sweep and camera of one scene.

    Raises:
        ConfigError: no lens in the configured ranges has a blur within `lens.blur_px`.
    """
    rng = RandomSource(seed, index, _LENS)
    camera, lens, sweep = config.camera, config.lens, config.sweep
    for _ in range(_MOST_DRAWS):
        pitch = rng.uniform(*camera.pixel_pitch_um)
        focal_length = rng.uniform(*lens.focal_length_mm)
        f_number = rng.log_uniform(*lens.f_number)
        far = rng.uniform(*sweep.far_diopters)
        near = far + rng.uniform(*sweep.range_diopters)
        fx = 1000 * focal_length / pitch
        drawn = LensModel(focal_length_mm=focal_length, f_number=f_number)
        if lens.blur_px[0] <= fx * drawn.aperture_m * (near - far) <= lens.blur_px[1]:
            break
    else:
        raise ConfigError(
            f"lens.blur_px {list(lens.blur_px)}: no lens of the configuration has such a blur over its sweep; "
            "widen it, or lens.focal_length_mm, lens.f_number or sweep.range_diopters"
        )
    center = (camera.width / 2, camera.height / 2)
    breathing = rng.uniform(*sweep.breathing_per_diopter) if rng.chance(sweep.breathing_share) else 0.0
    if breathing_magnification(near, far, breathing) < 0.5:
        raise ConfigError(f"sweep.breathing_per_diopter ({breathing:g}) shrinks the image below half its size")
    return Calibration(
        camera=CameraModel(
            width=camera.width,
            height=camera.height,
            pixel_pitch_um=pitch,
            fx=fx,
            fy=fx,
            cx=center[0],
            cy=center[1],
        ),
        lens=drawn,
        sweep=SweepSettings(
            waveform=sweep.waveform,
            frequency_hz=rng.log_uniform(*sweep.frequency_hz),
            far_diopters=far,
            near_diopters=near,
            sync="trigger",
            delay_us=round(rng.uniform(*sweep.delay_us)),
        ),
        breathing=Breathing(scale_per_diopter=breathing, center=center),
    )


def sample_window(seed: int, index: int, config: GenerationConfig, calibration: Calibration) -> Calibration:
    """The calibration of the rendered window of the sensor; unchanged without a window."""
    if config.camera.window is None:
        return calibration
    rng = RandomSource(seed, index, _WINDOW)
    camera, breathing, window = calibration.camera, calibration.breathing, config.camera.window
    left = rng.integer(0, camera.width - window.width)
    top = rng.integer(0, camera.height - window.height)
    cut = camera.model_copy(
        update={"width": window.width, "height": window.height, "cx": camera.cx - left, "cy": camera.cy - top}
    )
    if breathing is not None:
        centre = breathing.center[0] - left, breathing.center[1] - top
        breathing = breathing.model_copy(update={"center": centre})
    return calibration.model_copy(update={"camera": cut, "breathing": breathing})


def sample_sensor(seed: int, index: int, variant: int, config: GenerationConfig) -> tuple[Sensor, float]:
    """Draw the sensor of one recording of a scene, and the scene's illuminance in lux."""
    return draw_sensor(RandomSource(seed, index, _SENSOR, variant), config.sensor, config.light)


def draw_sensor(rng: RandomSource, chosen: SensorRange, light: LightRange) -> tuple[Sensor, float]:
    """Draw a sensor within ranges, and an illuminance in lux."""
    values: dict[str, Any] = {} if chosen.preset is None else PRESETS[chosen.preset].model_dump()
    for name, anything in ANY_SENSOR.items():
        span = getattr(chosen, name) or (None if chosen.preset is not None else anything)
        if span is None:
            continue
        by_ratio = name in _BY_RATIO and span[0] > 0
        values[name] = rng.log_uniform(*span) if by_ratio else rng.uniform(*span)
    if chosen.preset is None and chosen.on_threshold is None:  # the lower of two draws: most are well below 1
        values["on_threshold"] = min(values["on_threshold"], rng.log_uniform(*ANY_SENSOR["on_threshold"]))
    if chosen.preset is None and chosen.off_threshold is None:
        low, high = ANY_SENSOR["off_threshold"]
        drawn = values["on_threshold"] * rng.log_uniform(1 / _ASYMMETRY, _ASYMMETRY)
        values["off_threshold"] = min(max(drawn, low), high)
    values["resolution_us"] = round(values["resolution_us"])
    return Sensor.model_validate(values), rng.log_uniform(*light.illuminance_lux)
