"""Describes the content of a file as named facts, for `sweepdepth info` and notebooks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

from ..calibration import Calibration, SweepSettings
from ..errors import RecordingError, SyncError
from ..events import RISING, Batch
from ..formats.kinds import is_depth_file
from ..formats.recordings import is_bag
from ..optics import blur_diameter_px, to_diopters
from ..recordings import Recording, open_recording
from ..recordings.hints import NO_HINTS, TableHints
from ..sources.sanitizer import Repairs
from ..sweeps import Sweep
from ..tracking import Span, make_tracker
from .dataset import MANIFEST, open_dataset, read_truth
from .depth_file import open_depth_file
from .facts import Facts, Measured
from .folder_summary import summarise_folder


def describe(
    path: str | Path,
    calibration: Calibration | None = None,
    on_progress: Callable[[float], None] | None = None,
    *,
    trigger_channel: int | None = None,
    triggers: str | Path | None = None,
    hints: TableHints = NO_HINTS,
) -> Facts:
    """Describe a recording, dataset, folder of recordings, depth file or calibration file; the kind is recognised by
    content.

    Recordings are read once, to their end; those of a folder with the calibration NAME.toml beside them. `on_progress`
    is called with the number of events read, or counted in a dataset. `trigger_channel` and `triggers` are as for
    `replay`, and for recordings only; a folder's recordings have no common `triggers`.

    Raises:
        RecordingError, CalibrationError: the file is damaged or of an unknown kind.
    """
    path = Path(path)
    is_folder = path.is_dir() and not is_bag(path)
    if is_folder and not (path / MANIFEST).exists() and triggers is None:

        def describe_one(recording: Path, add: Callable[[float], None]) -> Facts:
            own = recording.with_suffix(".toml")
            lens = Calibration.load(own) if calibration is None and own.exists() else calibration
            return _describe_recording(recording, lens, add, trigger_channel, None, hints)

        return summarise_folder(path, describe_one, on_progress)
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
    """Facts of a calibration, and values derived from it."""
    camera, lens, sweep = calibration.camera, calibration.lens, calibration.sweep
    blur = float(blur_diameter_px(sweep.near_diopters, sweep.far_diopters, camera.fx, lens.aperture_m))
    far = f"{1 / sweep.far_diopters:.3g} m" if sweep.far_diopters else "infinity"
    view = float(2 * np.degrees(np.arctan(camera.width / 2 / camera.fx)))
    facts: Facts = {
        "camera": {
            "sensor": Measured(
                f"{camera.width}×{camera.height} pixels of {camera.pixel_pitch_um:g} µm",
                width=camera.width,
                height=camera.height,
                pixel_pitch_um=camera.pixel_pitch_um,
            ),
            "focal length": Measured(f"{camera.fx:g}, {camera.fy:g} px", fx_px=camera.fx, fy_px=camera.fy),
            "principal point": Measured(f"{camera.cx:g}, {camera.cy:g} px", cx_px=camera.cx, cy_px=camera.cy),
            "field of view": Measured(f"{view:.1f}° across", field_of_view_deg=view),
            **({} if camera.roi is None else {"roi": Measured(_part(camera.roi), roi=camera.roi)}),
            "hot pixels": Measured(f"{len(camera.hot_pixels):,}", hot_pixels=len(camera.hot_pixels)),
        },
        "lens": {
            "focal length": Measured(
                f"{lens.focal_length_mm:g} mm, f/{lens.f_number:g}",
                focal_length_mm=lens.focal_length_mm,
                f_number=lens.f_number,
            ),
            "aperture": Measured(f"{lens.aperture_m * 1e3:.2f} mm", aperture_mm=lens.aperture_m * 1e3),
            "largest blur": Measured(
                f"{blur:.1f} px (focus at one end, surface at the other)", largest_blur_px=abs(blur)
            ),
        },
        "sweep": {
            "range": Measured(
                f"{far} to {1 / sweep.near_diopters:.3g} m",
                far_m=1 / sweep.far_diopters if sweep.far_diopters else None,
                near_m=1 / sweep.near_diopters,
            ),
            "focus": Measured(
                f"{sweep.far_diopters:g} to {sweep.near_diopters:g} 1/m",
                far_diopters=sweep.far_diopters,
                near_diopters=sweep.near_diopters,
            ),
            "waveform": Measured(
                f"{sweep.waveform}, {sweep.frequency_hz:g} Hz, {sweep.duration_us / 1e3:g} ms a sweep",
                waveform=sweep.waveform,
                frequency_hz=sweep.frequency_hz,
                duration_ms=sweep.duration_us / 1e3,
            ),
            "timing": Measured(_timing(sweep), sync=sweep.sync, delay_us=sweep.delay_us),
            "measured curve": Measured(
                "yes" if calibration.focus_curve else "no", measured_curve=calibration.focus_curve is not None
            ),
        },
    }
    if calibration.doubts:
        facts["doubts"] = {"implausible": list(calibration.doubts)}
    if calibration.breathing and calibration.breathing.scale_per_diopter:
        change = calibration.breathing.scale_per_diopter * sweep.range_diopters
        facts["sweep"]["breathing"] = Measured(
            f"{100 * change:+.2f} % magnification over the sweep", breathing_share=change
        )
    return facts


def _part(roi: tuple[int, int, int, int]) -> str:
    """A part of the sensor, in words."""
    x, y, width, height = roi
    return f"{width}×{height} pixels from {x}, {y}: depth is made of this part alone"


def _timing(sweep: SweepSettings) -> str:
    """Describe in words how sweeps are synchronised."""
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
    size = sum(p.stat().st_size for p in dataset.scenes)
    facts: Facts = {
        "dataset": {
            "folder": Measured(f"{path} ({size / 1e6:.1f} MB)", folder=str(path), bytes=size),
            "scenes": Measured(
                f"{len(dataset.indices)}, in {len(dataset.scenes)} recordings",
                scenes=len(dataset.indices),
                recordings=len(dataset.scenes),
            ),
            "seed": dataset.manifest.seed,
            "versions": ", ".join(f"{name} {version}" for name, version in dataset.manifest.versions.items()),
        }
    }
    if counts:
        far, near = np.array(ranges).T
        facts["dataset"] |= {
            "sensor": Measured(
                ", ".join(sorted(sizes)) + " pixels", sizes=[list(map(int, size.split("×"))) for size in sorted(sizes)]
            ),
            "events": sum(counts),
            "events a recording": Measured(
                f"{min(counts):,} to {max(counts):,}, median {int(np.median(counts)):,}",
                events_a_recording_min=min(counts),
                events_a_recording_max=max(counts),
                events_a_recording_median=int(np.median(counts)),
            ),
            "sweeps": Measured(
                f"{far.min():.2f}…{far.max():.2f} to {near.min():.2f}…{near.max():.2f} 1/m",
                far_diopters_min=float(far.min()),
                far_diopters_max=float(far.max()),
                near_diopters_min=float(near.min()),
                near_diopters_max=float(near.max()),
            ),
            "depth inside the sweep": Measured(
                f"{100 * float(np.mean(inside)):.0f} % of the pixels", depth_inside_share=float(np.mean(inside))
            ),
        }
    return facts


@dataclass
class _Channel:
    """Statistics of the triggers of one input."""

    rising: int = 0
    falling: int = 0
    first_us: int | None = None
    last_us: int = 0

    def add(self, triggers: np.ndarray) -> None:  # (M,) TRIGGER_DTYPE, at least one, in time order
        rising = int(np.count_nonzero(triggers["edge"] == RISING))
        self.rising, self.falling = self.rising + rising, self.falling + len(triggers) - rising
        self.first_us = int(triggers["timestamp"][0]) if self.first_us is None else self.first_us
        self.last_us = int(triggers["timestamp"][-1])

    @property
    def edges_per_s(self) -> float | None:
        """Mean rate; None with fewer than two edges."""
        n, span_us = self.rising + self.falling, self.last_us - (self.first_us or 0)
        return (n - 1) / span_us * 1e6 if n > 1 and span_us else None

    def __str__(self) -> str:
        text = f"{self.rising:,} rising, {self.falling:,} falling"
        return text if self.edges_per_s is None else f"{text}, {self.edges_per_s:.4g} edges a second"


@dataclass
class _Contents:
    """Counts of a recording's content, collected batch by batch."""

    n_events: int = 0
    n_on: int = 0
    first_us: int | None = None
    last_us: int | None = None
    channels: dict[int, _Channel] = field(default_factory=dict)
    sweeps: list[Sweep] = field(default_factory=list)
    per_sweep: list[int] = field(default_factory=list)
    _inside: int = 0

    def add(self, batch: Batch) -> None:
        """Count the events and triggers of a batch."""
        self.n_events += len(batch.events)
        self.n_on += int(np.count_nonzero(batch.events["polarity"]))
        for channel in np.unique(batch.triggers["channel"]).tolist():
            self.channels.setdefault(channel, _Channel()).add(batch.triggers[batch.triggers["channel"] == channel])
        if len(batch.events):
            first_us, self.last_us = (int(batch.events["timestamp"][k]) for k in (0, -1))
            self.first_us = first_us if self.first_us is None else self.first_us

    def add_span(self, span: Span) -> None:
        """Count the events of a sweep."""
        self._inside += len(span.events)
        if span.closed:
            self.sweeps.append(span.sweep)
            self.per_sweep.append(self._inside)
            self._inside = 0


def _describe_recording(
    path: Path,
    calibration: Calibration | None,
    on_progress: Callable[[float], None] | None,
    trigger_channel: int | None,
    triggers: str | Path | None,
    hints: TableHints,
) -> Facts:
    found = _Contents()
    tracker, trouble = None, ""
    with open_recording(path, calibration, triggers=triggers, hints=hints) as recording:
        if recording.calibration is not None:
            try:
                tracker = make_tracker(recording.calibration.with_trigger_channel(trigger_channel))
            except SyncError as error:
                trouble = str(error)
        for batch in recording:
            found.add(batch)
            for span in tracker.feed(batch) if tracker else ():
                found.add_span(span)
            if on_progress:
                on_progress(found.n_events)
        try:
            for span in tracker.finish() if tracker else ():
                found.add_span(span)
        except SyncError as error:
            trouble = str(error)
        facts: Facts = {"recording": _recording_facts(recording, found)}
    if recording.calibration is not None:
        facts["sweeps"] = _sweep_facts(found, tracker.notes if tracker else (), trouble)
        facts |= describe_calibration(recording.calibration)
    return facts


def _recording_facts(recording: Recording, found: _Contents) -> dict[str, object]:
    """Facts of a recording that was read to its end."""
    n_events, channels = found.n_events, found.channels
    facts: dict[str, object] = {
        "file": _file(recording.path),
        "format": recording.format,
        **({"recognised": recording.why} if recording.why else {}),
        "sensor": Measured(
            f"{recording.width}×{recording.height} pixels", width=recording.width, height=recording.height
        ),
        "events": n_events,
        "ON share": found.n_on / n_events if n_events else float("nan"),
        "triggers": sum(c.rising + c.falling for c in channels.values()),
        **({"trigger channels": _trigger_channels(channels)} if channels else {}),
        "repairs": str(_without(recording.repairs, recording.why)),
    }
    if found.first_us is not None and found.last_us is not None:
        seconds = max(found.last_us - found.first_us, 1) * 1e-6
        facts |= {
            "first event": Measured(f"{found.first_us} µs", first_us=found.first_us),
            "duration": Measured(f"{seconds:.6g} s", duration_s=seconds),
            "event rate": Measured(f"{n_events / seconds / 1e6:.3g} million a second", events_per_s=n_events / seconds),
        }
    return facts


def _without(repairs: Repairs, why: str) -> Repairs:
    """The repairs without notes that `why`, the reason for the format, has already given."""
    return replace(repairs, notes=tuple(note for note in repairs.notes if note not in why))


def _sweep_facts(found: _Contents, notes: Sequence[str], trouble: str) -> dict[str, object]:
    """Facts of the sweeps of a recording; `trouble` is why some were not found."""
    sweeps = found.sweeps
    directions = ", ".join(s.direction.name.lower().replace("_to_", "→") for s in sweeps[:6])
    return {
        "found": Measured(
            f"{len(sweeps)}" + (f" ({directions}{', …' if len(sweeps) > 6 else ''})" if sweeps else ""),
            found=len(sweeps),
            directions=[s.direction.name.lower() for s in sweeps],
        ),
        **({"events a sweep": _events_a_sweep(found.per_sweep)} if found.per_sweep else {}),
        **({"notes": list(notes)} if notes else {}),
        **({"trouble": trouble} if trouble else {}),
    }


def _trigger_channels(channels: dict[int, _Channel]) -> Measured:
    found = sorted(channels.items())
    return Measured(
        "\n".join(f"{number}: {channel}" for number, channel in found),
        trigger_channels={
            str(n): {"rising": c.rising, "falling": c.falling, "edges_per_s": c.edges_per_s} for n, c in found
        },
    )


def _events_a_sweep(counts: list[int]) -> Measured:
    low, high = min(counts), max(counts)
    return Measured(f"{low:,} to {high:,}", events_a_sweep_min=low, events_a_sweep_max=high)


def _file(path: Path) -> Measured:
    size = _bytes_of(path)
    return Measured(f"{path} ({size / 1e6:.2f} MB)", file=str(path), bytes=size)


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
                "file": _file(path),
                "frames": len(frames),
                "size": Measured(f"{width}×{height} pixels", width=width, height=height),
                "estimator": frames.estimator,
                "time": Measured(
                    f"{frames.t_start_us[0]} to {frames.t_end_us[-1]} µs",
                    t_start_us=int(frames.t_start_us[0]),
                    t_end_us=int(frames.t_end_us[-1]),
                ),
                "coverage": Measured(
                    f"{100 * float(np.mean(covered)):.1f} % of the pixels", coverage=float(np.mean(covered))
                ),
                "median deviation": _deviation(deviations),
                "quality": _quality(frames.quality),
            }
        }
        return facts | describe_calibration(frames.calibration)


def _deviation(medians: list[float]) -> Measured:
    if not medians:
        return Measured("unknown", median_deviation_diopters=None)
    mean = float(np.mean(medians))
    return Measured(f"{mean:.3g} 1/m", median_deviation_diopters=mean)


def _quality(quality: np.ndarray) -> Measured:
    known = quality[np.isfinite(quality)]
    if not known.size:
        return Measured("unknown", quality_min=None, quality_max=None)
    low, high = float(known.min()), float(known.max())
    return Measured(f"{low:.2f} to {high:.2f}", quality_min=low, quality_max=high)
