"""Renders a scene with Blender: light field, exact depth, and Blender's own depth of field as a reference."""

import tempfile
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from scipy.spatial.transform import Rotation

from ...capture.calibration import Calibration
from ...capture.optics import breathing_magnification
from ..optics.lightfield import LightField, aperture_offsets, greatest_blur_px, grid_jitter, margin_for, views_for_blur
from ..optics.render_settings import RenderSettings
from ..scenes.scene import Scene
from .builder import build_scene
from .session import RenderError, quiet

_RADIANCE_FLOOR = 1e-4
"""Lower bound on radiance, relative to the mean, in geometric means."""
_NO_SURFACE_M = 1e9
"""Depths beyond this are no surface: Cycles writes 1e10 where a ray hits nothing."""
_SENSOR_MM = 36.0


def render_lightfield(
    scene: Scene, calibration: Calibration, settings: RenderSettings | None = None, n_views: int | None = None
) -> LightField:
    """Render the light field of a scene in this process, using Blender.

    Radiance is grey (Rec. 709 luminance), linear, and scaled so that the geometric mean of the all-in-focus image is
    the scene's `key`. The result is reproducible to the byte for the same scene, calibration, settings, versions and
    machine type.

    By default the number of views follows from the largest blur in the scene, within the settings' bounds. The arrays
    take `4 · K · (H + 2·margin) · (W + 2·margin)` bytes, 39 MB at 346×260 with 96 views. Blender itself needs about 0.3
    GB, and leaks some memory with every scene.

    Raises:
        RenderError: Blender is missing, or the scene cannot be rendered.
    """
    with Stage(scene, calibration, settings) as stage:
        return stage.light_field(n_views)


class Stage:
    """A scene set up in Blender behind one lens; a context manager. Use only one stage at a time.

    All images are (H, W) float32; radiance is linear and scaled to the scene's `key`.
    """

    def __init__(self, scene: Scene, calibration: Calibration, settings: RenderSettings | None = None) -> None:
        if calibration.camera.distortion is not None:
            raise RenderError("camera.distortion: scenes are rendered without lens distortion; remove it")
        self.scene, self.calibration = scene, calibration
        self.settings = settings or RenderSettings()

    def __enter__(self) -> Self:
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(prefix="sweepdepth-", dir=memory if memory.is_dir() else None)
        try:
            self._bpy, self._pose = build_scene(self.scene, self.calibration, self.settings.lighting)
            self._rotation = Rotation.from_matrix(self._pose[:3, :3]).as_euler("xyz").tolist()
            self._metres_per_unit = float(self._bpy.context.scene.unit_settings.scale_length)
            self._seed = int(np.random.SeedSequence((self.scene.seed, self.scene.index)).generate_state(1)[0]) >> 2
            self._camera = _add_camera(self._bpy)
            _configure(self._bpy, self.settings, procedural=self.scene.blend is None)
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def depth(self) -> np.ndarray:
        """Metres along Z at pixel centres to the nearest surface that is not fully transparent; inf where there is
        none."""
        bpy = self._bpy
        self._place(0.0, 0.0)
        bounces = bpy.context.scene.cycles.max_bounces
        bpy.context.scene.cycles.max_bounces = 0
        tree = _depth_compositor(bpy)
        try:
            metres = self._render(samples=1, seed=self._seed, only=0) * np.float32(self._metres_per_unit)
        finally:
            bpy.context.scene.render.use_compositing = False
            bpy.context.scene.compositing_node_group = None
            bpy.data.node_groups.remove(tree)
            bpy.context.scene.cycles.max_bounces = bounces
        return np.where(metres < _NO_SURFACE_M * self._metres_per_unit, metres, np.float32(np.inf))

    def intensity(self) -> np.ndarray:
        """The all-in-focus image, seen from the centre of the aperture."""
        return self._unexposed * self.exposure

    def light_field(self, n_views: int | None = None) -> LightField:
        """K pinhole views over the aperture, with one path per pixel each; see `LightField` for the geometry."""
        calibration, settings = self.calibration, self.settings
        depth, intensity = self.depth(), self.intensity()
        if n_views is None:
            needed = views_for_blur(greatest_blur_px(calibration, depth), settings.view_spacing_px)
            n_views = min(max(needed, settings.min_views), settings.max_views)
        margin = margin_for(calibration)
        sweep, camera = calibration.sweep, calibration.camera
        middle = (sweep.far_diopters + sweep.near_diopters) / 2
        offsets = aperture_offsets(n_views, calibration.lens.aperture_m)
        jitter = grid_jitter(n_views)
        views = np.empty((n_views, camera.height + 2 * margin, camera.width + 2 * margin), np.float32)
        for k, (offset, (jx, jy)) in enumerate(zip(offsets, jitter, strict=True)):
            self._place(*offset, reference_diopters=middle, margin=margin, jitter=(jx, jy))
            # Path k of one low-discrepancy sequence of length K: where views coincide, noise is that of K good samples.
            views[k] = self._render(samples=n_views, seed=self._seed + 1, only=k)
        views *= self.exposure
        return LightField(views, offsets, jitter, margin, middle, depth, intensity)

    def defocused(self, focus_diopters: float, samples: int | None = None, seed: int = 0) -> np.ndarray:
        """The image with Blender's own depth of field at a focus, with the same noise pattern at every focus."""
        self._place(0.0, 0.0, focus_diopters=focus_diopters)
        samples = samples or self.settings.dof_samples
        return self._render(samples=samples, seed=self._seed + seed) * self.exposure

    @cached_property
    def _unexposed(self) -> np.ndarray:
        """The all-in-focus image in Blender's units of radiance."""
        self._place(0.0, 0.0)
        return self._render(samples=self.settings.intensity_samples, seed=self._seed)

    @cached_property
    def exposure(self) -> np.float32:
        """Scale of radiance for the scene's key (Reinhard et al., "Photographic tone reproduction", 2002, eq. 1)."""
        seen = self._unexposed.astype(np.float64)
        floor = _RADIANCE_FLOOR * seen.mean()
        if not floor > 0:
            raise RenderError(f"scene {self.scene.index} is black: nothing that the camera sees is lit")
        return np.float32(self.scene.key / np.exp(np.log(seen + floor).mean()))

    def _place(
        self,
        right_m: float,
        down_m: float,
        *,
        reference_diopters: float = 0.0,
        margin: int = 0,
        jitter: tuple[float, float] = (0.0, 0.0),
        focus_diopters: float | None = None,
    ) -> None:
        """Place the camera at a point of the aperture or, with a focus, as a lens with the whole aperture.

        The view is off-axis, not rotated: the lens shift keeps points at the reference distance in place.
        """
        calibration, unit = self.calibration, self._metres_per_unit
        c, magnification, centre = calibration.camera, 1.0, (0.0, 0.0)
        if focus_diopters is not None and calibration.breathing is not None:
            s = calibration.sweep
            scale = calibration.breathing.scale_per_diopter
            magnification = float(breathing_magnification(focus_diopters, s.far_diopters, scale))
            centre = calibration.breathing.center
        fx, fy = c.fx * magnification, c.fy * magnification
        cx = centre[0] + magnification * (c.cx - centre[0]) + fx * right_m * reference_diopters + margin - jitter[0]
        cy = centre[1] + magnification * (c.cy - centre[1]) + fy * down_m * reference_diopters + margin - jitter[1]
        width, height = c.width + 2 * margin, c.height + 2 * margin

        render = self._bpy.context.scene.render
        render.resolution_x, render.resolution_y = width, height
        # Blender's aspect is that of a pixel's sides, which are proportional to the inverse focal lengths.
        render.pixel_aspect_x, render.pixel_aspect_y = max(1.0, fy / fx), max(1.0, fx / fy)
        lens = self._camera.data
        lens.lens = fx / width * _SENSOR_MM
        lens.shift_x = (width / 2 - cx) / width
        lens.shift_y = (cy - height / 2) / width * fx / fy
        lens.clip_start, lens.clip_end = 1e-3 / unit, 1e6 / unit
        lens.dof.use_dof = focus_diopters is not None
        if focus_diopters is not None:
            lens.dof.focus_distance = 1.0 / max(focus_diopters, 1e-6) / unit
            lens.dof.aperture_fstop = lens.lens * 1e-3 / (calibration.lens.aperture_m / unit)
        self._camera.rotation_euler = self._rotation
        self._camera.location = (self._pose @ (right_m / unit, -down_m / unit, 0.0, 1.0))[:3].tolist()

    def _render(self, samples: int, seed: int, only: int | None = None) -> np.ndarray:
        """Render with the current camera, (h, w) float32 linear, in Blender's units; all `samples` paths, or only one.

        A single path goes through the pixel's centre (filter of width zero); several are spread over the pixel's area.
        """
        bpy = self._bpy
        scene = bpy.context.scene
        scene.cycles.samples, scene.cycles.seed = samples, seed
        scene.cycles.use_sample_subset = only is not None
        scene.cycles.sample_offset, scene.cycles.sample_subset_length = only or 0, 1
        # The box filter always has a width of 1, and the middle of its table is off by 0.0015 px.
        scene.cycles.pixel_filter_type = "GAUSSIAN" if samples == 1 or only is not None else "BOX"
        scene.cycles.filter_width = 0.01
        path = Path(self._folder.name) / "frame.exr"
        path.unlink(missing_ok=True)
        scene.render.filepath = str(path)
        try:
            with quiet():
                bpy.ops.render.render(write_still=True)
        except RuntimeError as error:
            raise RenderError(f"scene {self.scene.index} cannot be rendered: {str(error).strip()}") from error
        if not path.exists():  # Blender only prints write errors
            raise RenderError(f"{path}: could not be written; is the disk full?")
        return read_grey(path, scene.render.resolution_x, scene.render.resolution_y)


def read_grey(path: Path, width: int, height: int) -> np.ndarray:
    """A one-channel, uncompressed float32 EXR as (h, w) float32, top row first.

    Such a file ends with its rows, each after its number and its size (OpenEXR file layout, "Scan line blocks").
    Blender itself would take ten times as long to load it.

    Raises:
        RenderError: it is cut short, or of another kind.
    """
    row = np.dtype([("number", "<i4"), ("bytes", "<i4"), ("grey", "<f4", (width,))])
    rows = np.frombuffer(path.read_bytes()[-height * row.itemsize :], np.uint8)
    if rows.size == height * row.itemsize:
        rows = rows.view(row)
        if np.array_equal(rows["number"], np.arange(height)) and np.all(rows["bytes"] == 4 * width):
            return np.ascontiguousarray(rows["grey"], np.float32)
    raise RenderError(f"{path}: is not an image of {width}×{height} as Blender was asked for; is the disk full?")


def _add_camera(bpy: Any) -> Any:
    lens = bpy.data.cameras.new("sweepdepth")
    lens.type, lens.sensor_fit, lens.sensor_width = "PERSP", "HORIZONTAL", _SENSOR_MM
    camera = bpy.data.objects.new("sweepdepth", lens)
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    return camera


def _configure(bpy: Any, settings: RenderSettings, procedural: bool) -> None:
    """Common settings: Cycles, a box filter of one pixel, no adaptive sampling, no denoising.

    On single-path views, Cycles' denoiser increased the error of refocused images (bench/rendering.py).
    """
    scene = bpy.context.scene
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    render.resolution_percentage = 100
    render.use_border = render.use_freestyle = render.use_motion_blur = render.use_multiview = False
    render.use_compositing = render.use_sequencer = render.film_transparent = False
    render.use_persistent_data = True
    render.threads_mode = "FIXED" if settings.threads else "AUTO"
    if settings.threads:
        render.threads = settings.threads
    image = render.image_settings
    image.file_format, image.color_mode, image.color_depth, image.exr_codec = "OPEN_EXR", "BW", "32", "NONE"
    render.use_file_extension = True
    cycles.use_adaptive_sampling = cycles.use_denoising = cycles.use_auto_tile = False
    cycles.use_animated_seed = False
    cycles.time_limit = 0.0
    cycles.device = _select_device(bpy) if settings.device == "gpu" else "CPU"
    if procedural and settings.lighting == "computed":
        cycles.max_bounces = 0
    elif procedural:
        cycles.diffuse_bounces = cycles.glossy_bounces = settings.bounces
        cycles.max_bounces = cycles.transmission_bounces = cycles.transparent_max_bounces = max(settings.bounces, 8)
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.sample_clamp_indirect = 1.0  # the sky has about 1; brighter single paths are noise


def _select_device(bpy: Any) -> str:
    """Enable the GPUs of the first available kind."""
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for kind in ("OPTIX", "CUDA", "HIP", "METAL", "ONEAPI"):
        try:
            preferences.compute_device_type = kind
        except TypeError:  # this build of Blender lacks it
            continue
        preferences.refresh_devices()
        devices = [d for d in preferences.devices if d.type == kind]
        if devices:
            for device in preferences.devices:
                device.use = device.type == kind
            return "GPU"
    raise RenderError('device = "gpu": Blender finds no GPU it can use; set device = "cpu"')


def _depth_compositor(bpy: Any) -> Any:
    """Make the depth pass the saved image; returns the node tree."""
    scene = bpy.context.scene
    layer = next((layer for layer in scene.view_layers if layer.use), scene.view_layers[0])
    layer.use_pass_z = True
    layer.pass_alpha_threshold = 1e-3  # at the default, depth behind a thin veil would be random
    tree = bpy.data.node_groups.new("depth", "CompositorNodeTree")
    tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
    layers = tree.nodes.new("CompositorNodeRLayers")
    layers.layer = layer.name
    tree.links.new(layers.outputs["Depth"], tree.nodes.new("NodeGroupOutput").inputs[0])
    scene.compositing_node_group = tree
    scene.render.use_compositing, scene.render.compositor_precision = True, "FULL"
    return tree
