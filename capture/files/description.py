"""What is in a file, as named facts: for `sweepdepth info` and for people in notebooks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..calibration import Calibration, SweepSettings
from ..errors import RecordingError, SyncError
from ..events import RISING
from ..formats.kinds import is_depth_file
from ..formats.recordings import is_bag
from ..optics import blur_diameter_px, to_diopters
from ..recordings import open_recording
from ..recordings.hints import NO_HINTS, TableHints
from ..sweeps import Sweep
from ..tracking import make_tracker
from .dataset import open_dataset, read_truth
from .depth_file import open_depth_file

Facts = dict[str, dict[str, Any]]


def describe(
    path: str | Path,
    calibration: Calibration | None = None,
    on_progress: Callable[[float], None] | None = None,
    *,
    trigger_channel: int | None = None,
    triggers: str | Path | None = None,
    hints: TableHints = NO_HINTS,
) -> Facts:
    """Sections of facts about a recording, dataset, depth file or calibration file, whose kind the content decides.

    A recording is read to its end, once. `on_progress` hears how many events were read, or counted in a dataset.
    `trigger_channel` and `triggers` are as for `replay`, of recordings alone.

    Raises:
        RecordingError, CalibrationError: the file is damaged, or of no kind that is known here.
    """
    path = Path(path)
    is_folder = path.is_dir() and not is_bag(path)
    is_other = is_folder or path.suffix == ".toml" or is_depth_file(path)
    if is_other and (trigger_channel is not None or triggers is not None or hints):
        raise RecordingError(
            f"{path}: is no recording; --triggers, --trigger-channel, --columns, --time-unit and --size are for those"
        )
    if is_folder:
        return _describe_dataset(path, on_progress)
    if path.suffix == ".toml":
        return describe_calibration(Calibration.load(path))
    if is_depth_file(path):
        return _describe_depth_file(path)
    return _describe_recording(path, calibration, on_progress, trigger_channel, triggers, hints)


def describe_calibration(calibration: Calibration) -> Facts:
    """What a calibration says, and what follows from it."""
    camera, lens, sweep = calibration.camera, calibration.lens, calibration.sweep
    blur = float(blur_diameter_px(sweep.near_diopters, sweep.far_diopters, camera.fx, lens.aperture_m))
    far = f"{1 / sweep.far_diopters:.3g} m" if sweep.far_diopters else "infinity"
    facts: Facts = {
        "camera": {
            "sensor": f"{camera.width}×{camera.height} pixels of {camera.pixel_pitch_um:g} µm",
            "focal length": f"{camera.fx:g}, {camera.fy:g} px",
            "principal point": f"{camera.cx:g}, {camera.cy:g} px",
            "field of view": f"{2 * np.degrees(np.arctan(camera.width / 2 / camera.fx)):.1f}° across",
            "hot pixels": len(camera.hot_pixels),
        },
        "lens": {
            "focal length": f"{lens.focal_length_mm:g} mm, f/{lens.f_number:g}",
            "aperture": f"{lens.aperture_m * 1e3:.2f} mm",
            "largest blur": f"{blur:.1f} px (focus at one end, surface at the other)",
        },
        "sweep": {
            "range": f"{far} to {1 / sweep.near_diopters:.3g} m",
            "focus": f"{sweep.far_diopters:g} to {sweep.near_diopters:g} 1/m",
            "waveform": f"{sweep.waveform}, {sweep.frequency_hz:g} Hz, {sweep.duration_us / 1e3:g} ms a sweep",
            "timing": _timing(sweep),
            "measured curve": "yes" if calibration.focus_curve else "no",
        },
    }
    if calibration.doubts:
        facts["doubts"] = {"what hardly can be": list(calibration.doubts)}
    if calibration.breathing and calibration.breathing.scale_per_diopter:
        change = calibration.breathing.scale_per_diopter * sweep.range_diopters
        facts["sweep"]["breathing"] = f"{100 * change:+.2f} % magnification over the sweep"
    return facts


def _timing(sweep: SweepSettings) -> str:
    """How sweeps are detected, in words."""
    text = f"{sweep.sync}, delay {sweep.delay_us} µs"
    if sweep.sync != "trigger":
        return text
    if sweep.trigger_channel is not None:
        text += f", channel {sweep.trigger_channel}"
    if sweep.trigger_edges != "both":
        text += f", {sweep.trigger_edges} edges"
    if sweep.trigger_inverted:
        text += ", inverted"
    where = {"far": "at the far end", "near": "at the near end", "both": "at each turning point", "none": "none"}
    return text + (f", pulses: {where[sweep.trigger_pulses]}" if sweep.trigger_pulses else "")


def _describe_dataset(path: Path, on_progress: Callable[[float], None] | None) -> Facts:
    dataset = open_dataset(path)
    counts, inside, ranges, sizes = [], [], [], set()
    for scene in dataset.scenes:
        truth = read_truth(scene)
        camera, sweep = truth.calibration.camera, truth.calibration.sweep
        sizes.add(f"{camera.width}×{camera.height}")
        with h5py.File(scene) as file:
            counts.append(file["events/t"].shape[0])  # pyright: ignore[reportAttributeAccessIssue]
        diopters = to_diopters(truth.depth)
        inside.append(np.mean((diopters >= sweep.far_diopters) & (diopters <= sweep.near_diopters)))
        ranges.append((sweep.far_diopters, sweep.near_diopters))
        if on_progress:
            on_progress(sum(counts))
    facts: Facts = {
        "dataset": {
            "folder": f"{path} ({sum(p.stat().st_size for p in dataset.scenes) / 1e6:.1f} MB)",
            "scenes": f"{len(dataset.indices)}, in {len(dataset.scenes)} recordings",
            "seed": dataset.manifest.seed,
            "versions": ", ".join(f"{name} {version}" for name, version in dataset.manifest.versions.items()),
        }
    }
    if counts:
        far, near = np.array(ranges).T
        facts["dataset"] |= {
            "sensor": ", ".join(sorted(sizes)) + " pixels",
            "events": sum(counts),
            "events a recording": f"{min(counts):,} to {max(counts):,}, median {int(np.median(counts)):,}",
            "sweeps": f"{far.min():.2f}…{far.max():.2f} to {near.min():.2f}…{near.max():.2f} 1/m",
            "depth inside the sweep": f"{100 * float(np.mean(inside)):.0f} % of the pixels",
        }
    return facts


@dataclass
class _Channel:
    """The triggers of one of the camera's inputs."""

    rising: int = 0
    falling: int = 0
    first_us: int | None = None
    last_us: int = 0

    def add(self, triggers: np.ndarray) -> None:  # (M,) TRIGGER_DTYPE, at least one, in time order
        rising = int(np.count_nonzero(triggers["edge"] == RISING))
        self.rising, self.falling = self.rising + rising, self.falling + len(triggers) - rising
        self.first_us = int(triggers["timestamp"][0]) if self.first_us is None else self.first_us
        self.last_us = int(triggers["timestamp"][-1])

    def __str__(self) -> str:
        text = f"{self.rising:,} rising, {self.falling:,} falling"
        n, span_us = self.rising + self.falling, self.last_us - (self.first_us or 0)
        return f"{text}, {(n - 1) / span_us * 1e6:.4g} edges a second" if n > 1 and span_us else text


def _describe_recording(
    path: Path,
    calibration: Calibration | None,
    on_progress: Callable[[float], None] | None,
    trigger_channel: int | None,
    triggers: str | Path | None,
    hints: TableHints,
) -> Facts:
    n_events = n_on = 0
    channels: dict[int, _Channel] = {}
    first = last = None
    sweeps: list[Sweep] = []
    per_sweep: list[int] = []
    trouble = ""
    with open_recording(path, calibration, triggers=triggers, hints=hints) as recording:
        tracker = None
        if recording.calibration is not None:
            try:
                tracker = make_tracker(recording.calibration.with_trigger_channel(trigger_channel))
            except SyncError as error:
                trouble = str(error)
        inside = 0
        for batch in recording:
            n_events += len(batch.events)
            n_on += int(np.count_nonzero(batch.events["polarity"]))
            for channel in np.unique(batch.triggers["channel"]).tolist():
                channels.setdefault(channel, _Channel()).add(batch.triggers[batch.triggers["channel"] == channel])
            if len(batch.events):
                first = int(batch.events["timestamp"][0]) if first is None else first
                last = int(batch.events["timestamp"][-1])
            for span in tracker.feed(batch) if tracker else ():
                inside += len(span.events)
                if span.closed:
                    sweeps.append(span.sweep)
                    per_sweep.append(inside)
                    inside = 0
            if on_progress:
                on_progress(n_events)
        if tracker:
            try:
                for span in tracker.finish():
                    inside += len(span.events)
                    if span.closed:
                        sweeps.append(span.sweep)
                        per_sweep.append(inside)
                        inside = 0
            except SyncError as error:
                trouble = str(error)
        repairs, stored = recording.repairs, recording.calibration
        facts: Facts = {
            "recording": {
                "file": f"{path} ({_bytes_of(path) / 1e6:.2f} MB)",
                "format": recording.format,
                **({"recognised": recording.why} if recording.why else {}),
                "sensor": f"{recording.width}×{recording.height} pixels",
                "events": n_events,
                "ON share": n_on / n_events if n_events else float("nan"),
                "triggers": sum(c.rising + c.falling for c in channels.values()),
                **({"trigger channels": [f"{n}: {c}" for n, c in sorted(channels.items())]} if channels else {}),
                "repairs": str(repairs),
            }
        }
    if first is not None and last is not None:
        seconds = max(last - first, 1) * 1e-6
        facts["recording"] |= {
            "first event": f"{first} µs",
            "duration": f"{seconds:.6g} s",
            "event rate": f"{n_events / seconds / 1e6:.3g} million a second",
        }
    if stored is not None:
        directions = ", ".join(s.direction.name.lower().replace("_to_", "→") for s in sweeps[:6])
        facts["sweeps"] = {
            "found": f"{len(sweeps)}" + (f" ({directions}{', …' if len(sweeps) > 6 else ''})" if sweeps else ""),
            **({"events a sweep": f"{min(per_sweep):,} to {max(per_sweep):,}"} if per_sweep else {}),
            **({"notes": list(tracker.notes)} if tracker and tracker.notes else {}),
            **({"trouble": trouble} if trouble else {}),
        }
        facts |= describe_calibration(stored)
    return facts


def _bytes_of(path: Path) -> int:
    return sum(part.stat().st_size for part in (path.iterdir() if path.is_dir() else (path,)))


def _describe_depth_file(path: Path) -> Facts:
    with open_depth_file(path) as frames:
        if not len(frames):
            raise RecordingError(f"{path}: holds no depth frame")
        covered, deviations = [], []
        for k in range(len(frames)):
            known = np.isfinite(frames.depth[k])
            covered.append(known.mean())
            if known.any():
                deviations.append(np.median(frames.std[k][known]))
        height, width = frames.depth.shape[1:]
        facts: Facts = {
            "depth": {
                "file": f"{path} ({path.stat().st_size / 1e6:.2f} MB)",
                "frames": len(frames),
                "size": f"{width}×{height} pixels",
                "estimator": frames.estimator,
                "time": f"{frames.t_start_us[0]} to {frames.t_end_us[-1]} µs",
                "coverage": f"{100 * float(np.mean(covered)):.1f} % of the pixels",
                "median deviation": f"{np.mean(deviations):.3g} 1/m" if deviations else "unknown",
                "quality": f"{np.nanmin(frames.quality):.2f} to {np.nanmax(frames.quality):.2f}"
                if np.isfinite(frames.quality).any()
                else "unknown",
            }
        }
        return facts | describe_calibration(frames.calibration)
