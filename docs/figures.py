"""Figures that explain the optics, drawn with sweepdepth's own code, without data. See pictures.py."""

from collections.abc import Callable
from itertools import islice

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from sweepdepth import Calibration, EventFocalStack, estimate_depth, find_sweeps, open_recording
from sweepdepth.capture.files.dataset import read_truth
from sweepdepth.capture.files.films import EVENT_FRAMES, event_pictures
from sweepdepth.capture.files.survey import survey
from sweepdepth.capture.files.survey_figure import recording_figure
from sweepdepth.capture.optics import blur_diameter_px, to_metres
from sweepdepth.capture.reporting.figures import ERROR_COLOURS, OFF_COLOUR, ON_COLOUR, draw_depth, draw_events
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.evaluation.evidence_pictures import pixel_figure
from sweepdepth.net.evidence import make_evidence
from sweepdepth.net.network import EventNetwork, load_network
from sweepdepth.stream.demo import recording_path
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.optics.refocus import refocus
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

LENS = """
camera = { width = 173, height = 130, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 86.5, cy = 65.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""
SURFACES = {"0.5 m": 2.0, "0.8 m": 1.25, "1.6 m": 0.625}
STYLES = {"0.5 m": ("#440154", "-"), "0.8 m": ("#21908c", "--"), "1.6 m": ("#b8860b", ":")}
DEPTH_TICKS = (2.0, 1.5, 1.0, 0.8, 0.6, 0.5, 0.4)
STRIPS = (2.1, 1.5, 0.9)  # 1/m
EVIDENCE_PIXEL = (95, 193)  # row and column


def blur() -> Figure:
    """The blur of three surfaces against the focus, in metres and in diopters."""
    calibration = Calibration.parse(LENS)
    fx, aperture = calibration.camera.fx, calibration.lens.aperture_m
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    metres, diopters = figure.subplots(1, 2, sharey=True)
    focus = np.linspace(calibration.sweep.far_diopters, calibration.sweep.near_diopters, 801)
    for name, surface in SURFACES.items():
        colour, style = STYLES[name]
        size = blur_diameter_px(focus, surface, fx, aperture)
        metres.plot(to_metres(focus), size, style, color=colour)
        diopters.plot(focus, size, style, color=colour, label=f"surface at {name}")
    metres.set(xlabel="distance in focus (m)", ylabel="diameter of the blur (px)", xlim=(0.4, 2), ylim=(0, None))
    metres.set_title("in metres: curves", fontsize=10)
    diopters.set(xlabel="focus φ = 1 / distance in focus (1/m)", xlim=(0.5, 2.5))
    diopters.set_title("in diopters: straight lines, all of one slope", fontsize=10)
    diopters.legend(fontsize=8, loc="upper center")
    return figure


def reversal() -> Figure:
    """What pixels on a surface see during a sweep: brightness, and events by sign."""
    calibration = Calibration.parse(LENS)
    surface = SURFACES["0.8 m"]
    steps = focus_steps(calibration)
    images = plane_images(make_texture("natural", seed=4, contrast=0.35), calibration, steps, surface)
    recorded = simulate_sweeps(images, calibration, PRESETS["davis346"], sweeps=1, seed=1)
    events = recorded.events
    sharp = images[np.abs(steps - surface).argmin()]
    # Detail: the difference between the sharp and the most blurred image.
    detail = sharp / images[-1]
    bright, dark = detail > np.quantile(detail, 0.95), detail < np.quantile(detail, 0.05)
    focus = calibration.focus_at(events["timestamp"] / calibration.sweep.duration_us)
    cells = np.linspace(0.5, 2.5, 61)
    middle, seconds = (cells[1:] + cells[:-1]) / 2, calibration.sweep.duration_us * 1e-6 / (len(cells) - 1)

    figure = Figure(figsize=(12, 6.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.2, 4.0])[:, 0]
    for axis, at in zip(above.subplots(1, 5), (0.5, 0.9, surface, 1.6, 2.5), strict=True):
        axis.imshow(images[np.abs(steps - at).argmin()], cmap="gray", vmin=0, vmax=float(np.quantile(sharp, 0.99)))
        axis.set_title(f"focus at {1 / at:.2f} m" + (": sharp" if at == surface else ""), fontsize=9)
        axis.axis("off")
    light, rates, total = below.subplots(1, 3)
    for mask, colour, name in ((bright, ON_COLOUR, "bright details"), (dark, OFF_COLOUR, "dark details")):
        mean = np.log(images[:, mask]).mean(axis=1)
        light.plot(steps, mean - mean.min(), color=colour, linestyle="-" if mask is bright else "--", label=name)
    light.set(ylabel="logarithm of brightness, from its lowest")
    light.set_title("brightness turns at focus", fontsize=10)
    inside = bright[events["y"], events["x"]]
    for polarity, colour, style, name in ((1, ON_COLOUR, "-", "ON, brighter"), (0, OFF_COLOUR, "--", "OFF, darker")):
        chosen = focus[inside & (events["polarity"] == polarity)]
        per_pixel = np.histogram(chosen, cells)[0] / bright.sum() / seconds
        rates.plot(middle, per_pixel, style, color=colour, label=name)
    rates.set(ylabel="events a second and pixel")
    rates.set_title("bright details: ON before focus, OFF after it", fontsize=10)
    everywhere = np.histogram(focus, cells)[0] / images[0].size / seconds
    total.plot(middle, everywhere, color="0.2")
    total.set(ylabel="events a second and pixel", ylim=(0, None))
    total.set_title("all events of all pixels: a valley at focus", fontsize=10)
    for axis in (light, rates, total):
        axis.axvline(surface, color="0.6", linewidth=1, linestyle=":")
        axis.set(xlabel="focus φ during the sweep (1/m)", xlim=(0.5, 2.5))
    light.legend(fontsize=8)
    rates.legend(fontsize=8)
    return figure


def _strips() -> tuple[EventFocalStack, np.ndarray, np.ndarray]:
    """The stack of one sweep over three textured strips, its events, and a sharp image of them."""
    calibration = Calibration.parse(LENS)
    steps = focus_steps(calibration)
    edges = np.linspace(0, calibration.camera.width, len(STRIPS) + 1).astype(int)
    images, sharp = None, None
    for strip, surface in enumerate(STRIPS):
        texture = make_texture("natural", seed=10 + strip, contrast=0.5)
        plane = plane_images(texture, calibration, steps, surface)
        best = plane_images(texture, calibration, [surface], surface)[0]
        if images is None or sharp is None:
            images, sharp = plane.copy(), best.copy()
        images[:, :, edges[strip] : edges[strip + 1]] = plane[:, :, edges[strip] : edges[strip + 1]]
        sharp[:, edges[strip] : edges[strip + 1]] = best[:, edges[strip] : edges[strip + 1]]
    assert images is not None
    assert sharp is not None
    recorded = simulate_sweeps(images, calibration, PRESETS["clean"], sweeps=1, seed=1)
    sweep = Sweep(0, round(calibration.sweep.duration_us), Direction.FAR_TO_NEAR, calibration)
    return EventFocalStack.build(recorded.events, sweep, bins=10), recorded.events, sharp


def stack() -> Figure:
    """From events to bins to depth, on a scene of three flat strips."""
    built, events, sharp = _strips()
    settings = built.sweep.calibration.sweep
    figure = Figure(figsize=(12, 6.6), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.4, 3.2])[:, 0]
    scene, cloud, weights = above.subplots(1, 3, width_ratios=[1, 1.25, 1.25])
    scene.imshow(sharp, cmap="gray", vmax=float(np.quantile(sharp, 0.99)))
    scene.set_title("the scene: strips at " + ", ".join(f"{1 / s:.2f}" for s in STRIPS) + " m", fontsize=10)
    scene.axis("off")
    row = events[np.abs(events["y"] - 65) <= 2]
    focus = built.sweep.diopters_at(row["timestamp"])
    for polarity, colour, marker in ((0, OFF_COLOUR, "."), (1, ON_COLOUR, ".")):
        chosen = row["polarity"] == polarity
        cloud.plot(row["x"][chosen], focus[chosen], marker, color=colour, markersize=1.6)
    for surface, left, right in zip(STRIPS, (0, 57, 115), (57, 115, 173), strict=True):
        cloud.plot([left, right], [surface, surface], color="0.1", linewidth=1.2, linestyle="--")
    cloud.set(xlabel="column x (px)", ylabel="focus when the event came (1/m)", xlim=(0, 173), ylim=(0.5, 2.5))
    cloud.set_title("events of five rows; dashed: the true depth", fontsize=10)
    phi = np.linspace(settings.far_diopters, settings.near_diopters, 500)
    for number, centre in enumerate(built.diopters):
        share = np.maximum(0, 1 - np.abs(phi - centre) * (built.bins - 1) / settings.range_diopters)
        weights.plot(share, phi, color=("0.15", "0.55")[number % 2], linestyle=("-", "--")[number % 2], linewidth=1.2)
    weights.set(xlabel="weight in a bin", ylabel="focus when the event came (1/m)", xlim=(0, 1.05), ylim=(0.5, 2.5))
    weights.set_title("ten bins, even in diopters: each event\nis shared by the two that are nearest", fontsize=10)
    bins, outcome = below.subfigures(1, 2, width_ratios=[5, 1.9])
    for axis, image, centre in zip(bins.subplots(2, 5).ravel(), built.signed(), built.diopters, strict=True):
        draw_events(axis, image)
        axis.set_title(f"{1 / centre:.2f} m", fontsize=9)
    axis = outcome.subplots()
    image = draw_depth(axis, estimate_depth(events, built.sweep).depth, settings.far_diopters, settings.near_diopters)
    axis.set_title("depth from polarity reversal", fontsize=10)
    bar = outcome.colorbar(image, ax=axis, location="bottom", shrink=0.9)
    ticks = np.linspace(settings.far_diopters, settings.near_diopters, 5)
    bar.set_ticks(ticks.tolist(), labels=[f"{1 / tick:.2f}" for tick in ticks])
    bar.set_label("depth (m), spaced evenly in 1/m", fontsize=8)
    return figure


def views() -> Figure:
    """Pinhole views over the aperture, and their shifted sums: images with any focus."""
    from sweepdepth.synth.blender.stage import Stage
    from sweepdepth.synth.optics.render_settings import RenderSettings
    from sweepdepth.synth.scenes.layouts import SceneConfig, sample_scene

    calibration = Calibration.parse(LENS.replace("f_number = 1.4", "f_number = 1.0"))
    scene = sample_scene(0, 3, SceneConfig(), calibration)
    with Stage(scene, calibration, RenderSettings()) as stage:
        field = stage.light_field()
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    grid = figure.subplots(2, 4)
    margin = field.margin
    height, width = field.depth.shape
    white = float(np.quantile(field.intensity, 0.98))

    def show(axis: Axes, image: np.ndarray, title: str) -> None:
        developed = np.clip(image / white, 0, 1) ** (1 / 2.2)
        axis.imshow(developed, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=10)
        axis.axis("off")

    aperture = grid[0, 0]
    offsets = field.offsets * 1e3
    aperture.plot(*offsets.T, ".", color="0.5", markersize=4)
    aperture.set(aspect="equal", xlabel="x in the aperture (mm)", ylabel="y (mm)")
    aperture.set_title(f"{len(offsets)} points of the aperture", fontsize=10)
    left, right = int(offsets[:, 0].argmin()), int(offsets[:, 0].argmax())
    for view, colour, marker, axis in ((left, ON_COLOUR, "s", grid[0, 1]), (right, OFF_COLOUR, "^", grid[0, 2])):
        aperture.plot(*offsets[view], marker, color=colour, markersize=9)
        pinhole = field.views[view][margin : margin + height, margin : margin + width]
        show(axis, pinhole, f"pinhole view at x = {offsets[view, 0]:+.1f} mm".replace("-", "−"))
    difference = field.views[left] - field.views[right]
    shift = grid[0, 3]
    shift.imshow(
        difference[margin : margin + height, margin : margin + width], cmap="PuOr", vmin=-white / 2, vmax=white / 2
    )
    shift.set_title("the difference of the two", fontsize=10)
    shift.axis("off")
    for axis, focus in zip(grid[1, :3], (0.6, 1.3, 2.3), strict=True):
        show(axis, refocus(field, focus, calibration), f"shifted and added: focus {1 / focus:.2f} m")
    image = draw_depth(grid[1, 3], field.depth, 0.5, 2.5)
    grid[1, 3].set_title("true depth of the middle view", fontsize=10)
    bar = figure.colorbar(image, ax=grid[1, 3], location="right", shrink=0.9)
    ticks = np.linspace(0.5, 2.5, 5)
    bar.set_ticks(ticks.tolist(), labels=[f"{1 / tick:.2f}" for tick in ticks])
    bar.set_label("m", fontsize=8)
    return figure


def recording() -> Figure:
    """The picture of `info --picture` for the bundled recording."""
    return recording_figure(survey(recording_path()))


def _first_sweep() -> tuple[np.ndarray, Sweep]:
    """The bundled recording and its events."""
    with open_recording(recording_path()) as opened:
        assert opened.calibration is not None
        events, _ = opened.read()
        sweep = find_sweeps(opened, opened.calibration)[0]
    return events[(events["timestamp"] >= sweep.start_us) & (events["timestamp"] < sweep.end_us)], sweep


def evidence() -> Figure:
    """The evidence of one pixel of the bundled recording, with the network's distribution and the truth."""
    events, sweep = _first_sweep()
    network = load_network()
    assert isinstance(network, EventNetwork)
    stack = EventFocalStack.build(events, sweep, network.bins, network.polarity)
    truth = read_truth(recording_path()).depth
    y, x = EVIDENCE_PIXEL
    drawn = pixel_figure(make_evidence(stack), x, y, network(stack).distribution)
    settings = sweep.calibration.sweep
    for axis in drawn.axes:
        axis.axvline((1 / truth[y, x] - settings.far_diopters) / settings.range_diopters, color="red", linewidth=1)
    return drawn


def event_frames() -> Figure:
    """Pictures of the film that `convert RECORDING events.mp4` makes, one in four of the first sweep."""
    with open_recording(recording_path()) as opened:
        pictures = list(islice(event_pictures(opened), 2, EVENT_FRAMES, 4))
    figure = Figure(figsize=(12, 2.3), layout="constrained")
    for axis, picture in zip(figure.subplots(1, len(pictures)), pictures, strict=True):
        axis.imshow(picture)
        axis.axis("off")
    return figure


def deviation() -> Figure:
    """The network's depth of one sweep of the bundled recording, its standard deviation, and the error."""
    network = load_network()
    assert isinstance(network, EventNetwork)
    events, sweep = _first_sweep()
    estimate = network(EventFocalStack.build(events, sweep, network.bins, network.polarity))
    truth = read_truth(recording_path()).depth
    settings = sweep.calibration.sweep
    error = np.abs(estimate.diopters - 1 / truth)
    figure = Figure(figsize=(12, 2.9), layout="constrained")
    depth, true, std, wrong = figure.subplots(1, 4)
    draw_depth(true, truth, settings.far_diopters, settings.near_diopters)
    image = draw_depth(depth, estimate.depth, settings.far_diopters, settings.near_diopters)
    figure.colorbar(image, ax=true, shrink=0.8, label="1/m")
    for axis, values in ((std, estimate.std), (wrong, error)):
        shown = axis.imshow(values, cmap=ERROR_COLOURS, vmin=0, vmax=float(np.nanquantile(error, 0.98)))
        axis.axis("off")
    figure.colorbar(shown, ax=wrong, shrink=0.8, label="1/m")
    for axis, title in ((depth, "depth"), (true, "truth"), (std, "its standard deviation"), (wrong, "its error")):
        axis.set_title(title, fontsize=10)
    return figure


def distance() -> Figure:
    """Errors in metres for an error in diopters, which grow with the square of the distance."""
    settings = Calibration.parse(LENS).sweep
    metres = np.linspace(1 / settings.near_diopters, 1 / settings.far_diopters, 200)
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axis = figure.subplots()
    for share, style in ((0.01, "-"), (0.03, "--"), (0.1, ":")):
        error = share * settings.range_diopters * metres**2
        axis.plot(metres, 100 * error, style, color="#440154", label=f"{share:.0%} of a range of 2 diopters")
    axis.set(xlabel="distance (m)", ylabel="error (cm)", xlim=(0.4, 2), ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def favicon() -> Image.Image:
    """Two halves of a disc, orange before focus and purple after it, 64 pixels square."""
    y, x = (np.mgrid[:256, :256] + 0.5) / 256 - 0.5
    colours = np.zeros((256, 256, 4), np.uint8)
    disc = np.hypot(x, y) < 0.48
    colours[disc & (x < 0)] = (230, 97, 1, 255)
    colours[disc & (x >= 0)] = (94, 60, 153, 255)
    colours[disc & (np.abs(x) < 0.04)] = (255, 255, 255, 255)
    return Image.fromarray(colours).resize((64, 64), Image.Resampling.LANCZOS)


FIGURES: dict[str, tuple[Callable[[], Figure], int]] = {
    "blur": (blur, 100),
    "reversal": (reversal, 100),
    "stack": (stack, 100),
    "views": (views, 100),
    "recording": (recording, 110),
    "evidence": (evidence, 100),
    "event_frames": (event_frames, 110),
    "deviation": (deviation, 110),
    "distance": (distance, 100),
}
"""The function that draws each figure, and its resolution in dots per inch."""
