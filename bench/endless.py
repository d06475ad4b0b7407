"""Endless sweeps: milliseconds a patch scene and a sweep of 128×96 take on this device, compiled and as plain tensors.

    ./run bench endless --scenes 16

Plain tensors seek each patch in the whole frame and add views by a convolution, as the code says it; what trains seeks
it where it can be, compiled, and on a CPU adds views by the renderer's kernel. Means over the scenes, one after the
other, once everything is compiled; both on the same scenes.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table

from sweepdepth.synth.endless import pool, rays
from sweepdepth.synth.endless.channels import draw_wrongs, event_bins, event_steps
from sweepdepth.synth.endless.focus import breathe, expose, focal_stacks, refocus_views
from sweepdepth.synth.endless.lens import BLUR_PX, Chance, Lens, draw_lens, draw_light
from sweepdepth.synth.endless.patches import PATCHES, Patches, draw_patches
from sweepdepth.synth.endless.pixels import count_events, draw_sensors
from sweepdepth.synth.endless.tiles import make_tiles

HEIGHT, WIDTH = 96, 128
BINS = 10


@contextmanager
def _plain() -> Iterator[None]:
    """Nothing compiled, and patches sought everywhere."""
    whole = slice(None)
    with (
        torch.compiler.set_stance("force_eager"),
        mock.patch.object(rays, "_places", return_value=[(whole, whole)] * PATCHES),
    ):
        yield


def _convolved(views: torch.Tensor, lens: Lens, margin: int, pad: int) -> torch.Tensor:
    return breathe(refocus_views(views, lens, margin), lens, pad)


def _milliseconds(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - began), result


def _stages(
    scenes: Patches, lens: Lens, tiles: torch.Tensor, seed: int, refocus: Callable[..., torch.Tensor]
) -> dict[str, float]:
    """Milliseconds of each stage: for one scene, and for one of its sweeps."""
    chance = Chance(seed, lens.blur_px.device)
    torch.manual_seed(seed)
    margin, pad = rays.margin_px(BLUR_PX[1]), pool.breathing_pad_px(HEIGHT, WIDTH)
    times: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any], sweeps: int = 1) -> Any:
        took, result = _milliseconds(work, chance.device)
        times[name] = took / sweeps
        return result

    views = timed("a scene: 64 views", lambda: rays.render_views(scenes, lens, tiles, HEIGHT, WIDTH, margin + pad))
    stack = timed("a scene: 32 images", lambda: refocus(views, lens, margin, pad))
    stack = expose(stack, chance.by_ratio(0.09, 0.36, 1)).half()
    light, sensors = draw_light(chance, 1), draw_sensors(chance, 1)
    there, back = timed(
        "a sweep: pixels", lambda: count_events(stack, sensors, light.on_chip(lens), light.duration_s), 2
    )
    direction = torch.tensor([1.0, -1.0], device=chance.device)
    both = Lens(*(value.repeat(2) for value in lens))
    wrongs = draw_wrongs(chance, 2)
    timed(
        "a sweep: event focal stack",
        lambda: event_bins(
            event_steps(torch.cat([there, back]), direction, both, wrongs), direction, wrongs, BINS
        ).arcsinh(),
        2,
    )
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chance = Chance(0, device)
    tiles = make_tiles(chance, 24)

    sums: dict[str, list[float]] = {}
    for number in range(-2, options.scenes):  # those below 0 compile
        lens = draw_lens(chance, 1)
        scenes = draw_patches(chance, lens, HEIGHT, WIDTH, len(tiles))
        with _plain():
            plain = _stages(scenes, lens, tiles, number + 2, _convolved)
        fast = _stages(scenes, lens, tiles, number + 2, focal_stacks)
        if number >= 0:
            for name in plain:
                total = sums.setdefault(name, [0.0, 0.0])
                total[0] += plain[name] / options.scenes
                total[1] += fast[name] / options.scenes

    table = Table(title=f"{options.scenes} patch scenes of {WIDTH}×{HEIGHT}, {device.type}, {options.threads} threads")
    for column in ("", "plain tensors, ms", "as trained on, ms", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for name, (plain_ms, fast_ms) in sums.items():
        table.add_row(name, f"{plain_ms:.1f}", f"{fast_ms:.1f}", f"{plain_ms / fast_ms:.1f}×")
    Console().print(table)


if __name__ == "__main__":
    main()
