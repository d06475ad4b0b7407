"""`sweepdepth synth`"""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .extras import require
from .interruption import exit_unless_all
from .options import DebugOption, ForceOption, JsonOption, load_lens
from .output import print_json, print_tables, progress_bar, say


class RenderMode(StrEnum):
    """How sweeps are rendered."""

    LIGHTFIELD = "lightfield"
    DOF = "dof"
    PATCHES = "patches"


def render(
    out: Annotated[Path, typer.Option("--out", help="The dataset's folder; existing scenes are kept.")],
    scenes: Annotated[int, typer.Option("--scenes", min=1, help="Total number of scenes, existing ones included.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the scenes.")] = 0,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file: lenses, sweeps, sensors, scenes.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes on this machine.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Use a running dask scheduler instead.")] = None,
    blend: Annotated[Path | None, typer.Option("--blend", help="Render this Blender file's scene.")] = None,
    assets: Annotated[
        Path | None, typer.Option("--assets", help="Folder of glTF and OBJ models to use as objects.")
    ] = None,
    mode: Annotated[
        RenderMode | None,
        typer.Option("--render", help="Light field, Blender's depth of field, or patches without Blender."),
    ] = None,
    intensity: Annotated[int | None, typer.Option("--intensity", min=0, help="Conventional images per sweep.")] = None,
    variants: Annotated[int | None, typer.Option("--variants", min=1, help="Recordings per scene.")] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Generate a dataset: scenes in Blender or of patches, focal sweeps, events and ground truth."""
    require("cluster", "distributed")
    from ..capture.files.dataset import open_dataset
    from ..synth.generation.config import GenerationConfig
    from ..synth.generation.job import JobProgress, generate
    from ..synth.scenes.layouts import find_assets

    overrides: dict[str, object] = {}
    in_scene: dict[str, object] = {}
    if blend is not None:
        in_scene["blend"] = str(blend.absolute())
    if assets is not None:
        in_scene["assets"] = [str(path) for path in find_assets(assets)]
    if in_scene:
        overrides["scene"] = in_scene
    if mode is not None:
        overrides["render"] = mode.value
    if variants is not None:
        overrides["variants"] = variants
    if intensity is not None:
        overrides["intensity"] = {"frames": intensity}
    settings = GenerationConfig.parse(overrides) if config is None else GenerationConfig.load(config, **overrides)

    with progress_bar("scenes", scenes, "scenes") as advance:

        def report(progress: JobProgress) -> None:
            done = scenes - progress.to_make + progress.made + progress.skipped
            advance(done)
            left = "" if progress.left_s is None else f", {progress.left_s / 60:.0f} min left"
            say(f"{done} of {scenes} scenes, {progress.scenes_per_hour:.0f} an hour{left}")

        # When the job is interrupted, asyncio would print a traceback for each of Dask's connections.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        try:
            result = generate(out, scenes, seed, settings, workers=workers, scheduler=scheduler, on_progress=report)
        except SystemExit:
            there = len([index for index in open_dataset(out).indices if index < scenes])
            say(f"stopped: {there} of {scenes} scenes in {out}; run the same command again to continue")
            raise
    if as_json:
        print_json(
            {
                "folder": str(result.folder),
                "made": result.made,
                "present": result.present,
                "skipped": [{"scene": s.index, "reason": s.reason} for s in result.skipped],
                "events": result.events,
                "seconds": result.elapsed_s,
                "scenes_per_hour": result.scenes_per_hour,
            }
        )
    else:
        print_tables(
            {
                str(result.folder): {
                    "scenes": f"{result.made} new, {result.present} existed",
                    "events": result.events,
                    "time": f"{result.elapsed_s:.0f} s, {result.scenes_per_hour:.0f} scenes an hour",
                    "skipped": [f"scene {s.index}: {s.reason}" for s in result.skipped],
                }
            }
        )
    exit_unless_all(result.made + result.present, len(result.skipped))


def simulate(
    images: Annotated[Path, typer.Argument(help="Folder of photographs of one focal stack, far to near by name.")],
    lens: Annotated[Path, typer.Option("--lens", help="Calibration file (lens.toml).")],
    out: Annotated[Path, typer.Option("--out", help="Recording to write: .h5, .aedat4, …")],
    sensor: Annotated[str, typer.Option("--sensor", help="davis346, dvxplorer, evk4, clean or noisy.")] = "davis346",
    sweeps: Annotated[int, typer.Option("--sweeps", min=1, help="Number of sweeps.")] = 4,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed of the sensor's noise.")] = 0,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Simulate an event recording from a focal stack of real photographs."""
    from ..capture.atomic import check_target
    from ..capture.events import Batch
    from ..capture.formats.recordings import for_writing
    from ..capture.recordings import write_recording
    from ..synth.photographs import find_photographs, simulate_photographs
    from ..synth.sensor.presets import PRESETS

    if sensor not in PRESETS:
        raise typer.BadParameter(f"there is no sensor {sensor!r}; there are {', '.join(PRESETS)}")
    calibration = load_lens(lens)
    photographs = find_photographs(images)
    for_writing(out)
    check_target(out, "recording", lens, *photographs, force=force)
    recording = simulate_photographs(photographs, calibration, PRESETS[sensor], sweeps=sweeps, seed=seed)
    times = [int(part["timestamp"][-1]) for part in (recording.events, recording.triggers) if len(part)]
    batch = Batch(recording.events, recording.triggers, max(times, default=0) + 1)
    camera = calibration.camera
    for loss in write_recording(out, [batch], camera.width, camera.height, recording.calibration, force=force):
        say(loss)
    if as_json:
        print_json({"out": str(out), "events": len(recording.events), "sweeps": sweeps})
    else:
        say(f"written {out}: {len(recording.events):,} events in {sweeps} sweeps")


def pack(
    dataset: Annotated[Path, typer.Argument(help="The dataset's folder.")],
    out: Annotated[Path, typer.Argument(help="The pack to write, .pack.")],
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Pack a dataset's ideal focal stacks into one small file, to train on elsewhere: `train --data`."""
    from ..capture.files.dataset import open_dataset
    from ..capture.files.stack_pack import write_pack

    opened = open_dataset(dataset)
    scenes = len(opened.first_variants)
    with progress_bar("packing", scenes, "scenes") as advance:
        packed = write_pack(out, opened, force=force, on_scene=advance)
    size = out.stat().st_size
    if as_json:
        print_json({"out": str(out), "scenes": packed, "left_out": scenes - packed, "bytes": size})
    else:
        left = f"; {scenes - packed} without an ideal focal stack were skipped" if packed < scenes else ""
        say(f"written {out}: {packed} scenes, {size / 1e6:.1f} MB{left}")
    exit_unless_all(packed, scenes - packed)
