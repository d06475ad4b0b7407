"""Pools of focal stacks on the training device, from which sweeps are drawn again and again."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .focus import expose, focal_stacks
from .lens import BLUR_PX, BREATHING, CENTRE_PX, FOCUS_SAMPLES, Chance, Lens, draw_lens
from .patches import draw_patches
from .rays import margin_px, render_depth, render_views
from .tiles import make_tiles

_KEY = (0.09, 0.36)  # exposure, as `sampling` has it
_TILES = 510  # textures, at most
_TILES_A_SCENE = 6


@dataclass
class Pool:
    """P scenes behind their lenses; the oldest make room for new ones."""

    stacks: Tensor  # (P, F, H, W) float16, radiance, far to near, as the lens breathes
    position: Tensor  # (P, H, W) float16, in the range, in the geometry of the far end
    lens: Lens  # (P,) each
    oldest: int = 0

    @property
    def size(self) -> int:
        """How many scenes there are."""
        return len(self.stacks)

    def replace(self, stacks: Tensor, position: Tensor, lens: Lens) -> None:
        """Put new scenes in the place of the oldest."""
        at = (torch.arange(len(stacks), device=self.stacks.device) + self.oldest) % len(self.stacks)
        self.stacks[at], self.position[at] = stacks.half(), position.half()
        for mine, new in zip(self.lens, lens, strict=True):
            mine[at] = new
        self.oldest = (self.oldest + len(stacks)) % len(self.stacks)

    def draw(self, chance: Chance, count: int) -> tuple[Tensor, Tensor, Lens]:
        """Some of the scenes, each as it is or as in a mirror, across or down."""
        at = chance.integers(self.size, count)
        stacks, position = self.stacks[at], self.position[at].float()
        lens = Lens(*(value[at] for value in self.lens))
        for axis, centre in ((-1, lens.centre_x), (-2, lens.centre_y)):
            mirrored = chance.yes(0.5, count)
            stacks[mirrored], position[mirrored] = stacks[mirrored].flip(axis), position[mirrored].flip(axis)
            centre[mirrored] *= -1
        return stacks, position, lens


class PatchPool(Pool):
    """Patch scenes, made as they are needed: the pool grows to `most`, then the oldest make room."""

    def __init__(self, chance: Chance, most: int, height: int, width: int) -> None:
        self._chance, self._frame, self._made = chance, (height, width), 0
        self._tiles = make_tiles(chance, min(_TILES, _TILES_A_SCENE * most))
        device = chance.device
        empty = Lens(*(torch.zeros(most, device=device) for _ in Lens._fields))
        super().__init__(
            torch.empty(most, FOCUS_SAMPLES, height, width, dtype=torch.float16, device=device),
            torch.empty(most, height, width, dtype=torch.float16, device=device),
            empty,
        )

    @property
    def size(self) -> int:
        """How many scenes have been made, and are kept."""
        return min(self._made, len(self.stacks))

    def renew(self, count: int) -> None:
        """Make so many new scenes."""
        self.replace(*make_patch_scenes(self._chance, self._tiles, count, *self._frame))
        self._made += count


def breathing_pad_px(height: int, width: int) -> int:
    """Pixels around the frame that breathing may bring in."""
    farthest = max(width / 2 + CENTRE_PX[0], height / 2 + CENTRE_PX[1])
    return int(BREATHING / (1 - BREATHING) * farthest) + 2


def make_patch_scenes(
    chance: Chance, tiles: Tensor, count: int, height: int, width: int
) -> tuple[Tensor, Tensor, Lens]:
    """Focal stacks (B, F, H, W), positions (B, H, W), and the lenses of some new scenes."""
    lens = draw_lens(chance, count)
    scenes = draw_patches(chance, lens, height, width, len(tiles))
    pad = breathing_pad_px(height, width)
    margin = margin_px(BLUR_PX[1])
    views = render_views(scenes, lens, tiles, height, width, margin + pad)
    stacks = focal_stacks(views, lens, margin, pad)
    return expose(stacks, chance.by_ratio(*_KEY, count)), render_depth(scenes, height, width), lens
