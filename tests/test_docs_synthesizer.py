"""What the pages say about the synthesizer's configuration is what the code does."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.generation.draws import ANY_SENSOR
from sweepdepth.synth.scenes import appearance

from .pages import ROOT, blocks_of

PAGE = ROOT / "docs" / "synthesizer.md"
DEFAULTS = GenerationConfig().model_dump(mode="json")
SHOWN_IN_USE = {"camera.window", "scene.assets", "scene.blend", "sensor.preset"}
"""Keys that are not set by default; the page shows a value for each."""


def flat(values: dict[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with their sections, and values."""
    for key, value in values.items():
        name = f"{section}{key}"
        if isinstance(value, dict) and name not in SHOWN_IN_USE:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def complete_configuration() -> tuple[str, str]:
    """The page's block, as it stands and with the keys that are commented out."""
    (text,) = [block.text for block in blocks_of(PAGE, "The configuration") if block.kind == "toml"]
    return text, re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)


def test_the_complete_configuration_shows_the_defaults():
    text, _ = complete_configuration()
    defaults = dict(flat(DEFAULTS))
    shown = dict(flat(tomllib.loads(text)))
    assert shown == {key: defaults.get(key) for key in shown}


def test_the_complete_configuration_shows_every_key():
    text, uncommented = complete_configuration()
    shown = tomllib.loads(uncommented)
    GenerationConfig.parse(shown)
    assert dict(flat(shown)).keys() == dict(flat(DEFAULTS)).keys()
    commented = dict(flat(shown)).keys() - dict(flat(tomllib.loads(text))).keys()
    assert commented == SHOWN_IN_USE | {f"sensor.{name}" for name in ANY_SENSOR}
    sensor = GenerationConfig.parse(shown).sensor
    assert {name: getattr(sensor, name) for name in ANY_SENSOR} == ANY_SENSOR


def test_the_page_says_how_large_and_how_frequent_textures_are():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"sizes of {appearance.FINEST_PX:g} to {appearance.COARSEST_PX:g} pixels" in text
    objects, walls = (
        round(100 * (1 - weights["textured"] / sum(weights.values())))
        for weights in (appearance.SURFACES, appearance.WALLS)
    )
    assert f"{objects} % of the objects are plain, dark, glossy or metallic" in text
    assert f"{walls} % of the walls, floors and tables are plain, dark or glossy" in text
    assert appearance.SURFACES.keys() == {"textured", "plain", "dark", "glossy", "metal"}
    assert appearance.WALLS.keys() == {"textured", "plain", "dark", "glossy"}


def test_the_optics_page_says_how_much_lenses_blur():
    low, high = GenerationConfig().lens.blur_px
    text = " ".join((ROOT / "docs" / "optics.md").read_text(encoding="utf-8").split())
    assert f"draws lenses with {low:g} to {high:g} px" in text


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "weights").glob("*.toml")), ids=lambda path: path.stem)
def test_the_configurations_among_the_examples_are_valid_and_mentioned(path):
    GenerationConfig.load(path)
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert f"examples/weights/{path.name}" in pages


def test_the_laboratorys_pixels_are_slower_than_those_of_the_training_scenes():
    text = (ROOT / "examples" / "weights" / "laboratory.toml").read_text(encoding="utf-8")
    slowest = ANY_SENSOR["bandwidth_hz"][0]
    assert f"train.toml's begin at {slowest:g}" in text
    sensor = GenerationConfig.load(ROOT / "examples" / "weights" / "laboratory.toml").sensor
    assert sensor.bandwidth_hz is not None
    assert sensor.bandwidth_hz[1] < slowest
