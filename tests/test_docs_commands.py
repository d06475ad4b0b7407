"""Every command of README and docs is run as written, in a folder with the files that the page assumes. Long commands
are run in small sizes: datasets of one tiny scene, training of a few steps. Commands that need another machine,
hardware or the checkout are listed in `pages.OUT_OF_REACH`; the real command line still parses their options.
"""

import ast
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweepdepth import Calibration
from sweepdepth.capture.events import Batch
from sweepdepth.capture.recordings import write_recording
from sweepdepth.stream.examples import lay_out
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

from .pages import PAGES, ROOT, blocks_of, extras, name_of, read_only
from .reader import Reader

BIN = Path(sys.executable).parent

TINY = """
sweeps = 2
variants = 1
camera = { width = 48, height = 36 }
scene = { objects = [2, 3] }
rendering = { min_views = 8, max_views = 8, view_spacing_px = 8.0, intensity_samples = 1 }
intensity = { frames = 32, noise = false }
"""


LABORATORY_LENS = """
camera = { width = 64, height = 48, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 32.0, cy = 24.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""


@pytest.fixture(scope="module")
def supplies(tmp_path_factory) -> Path:
    """Files that pages assume: those of `sweepdepth examples`, of a checkout, and a reader's own."""
    folder = tmp_path_factory.mktemp("supplies") / "here"
    lay_out(folder)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").write_text(f"PATH={shlex.quote(str(BIN))}:$PATH\n")
    for config in (*(folder / "examples" / "weights").glob("*.toml"), folder / "mine.toml"):
        config.write_text(TINY)
    shutil.rmtree(folder / "examples" / "node")
    (folder / "examples" / "node").symlink_to(ROOT / "examples" / "node")  # with what npm installed
    calibration = Calibration.parse(LABORATORY_LENS)
    for name, diopters in (("laboratory", 1.2), ("laboratory-test", 1.8)):  # smaller ones
        images = plane_images(make_texture(), calibration, focus_steps(calibration), diopters)
        recorded = simulate_sweeps(images, calibration, PRESETS["clean"], sweeps=2, seed=0)
        batch = Batch(recorded.events, recorded.triggers, int(recorded.triggers["timestamp"][-1]) + 1)
        (folder / name / "target.h5").unlink()
        write_recording(folder / name / "target.h5", [batch], 64, 48)
        (folder / name / "target.toml").write_text(LABORATORY_LENS)
        np.save(folder / name / "target_depth.npy", np.full((48, 64), 1 / diopters, np.float32))
    if find_spec("bpy") is not None:
        save = f"import bpy; bpy.ops.wm.save_as_mainfile(filepath={str(folder / 'kitchen.blend')!r})"
        subprocess.run([sys.executable, "-c", save], check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def readers(tmp_path_factory, supplies) -> Iterator[Callable[[Path], Reader]]:
    """The reader of each page, with the results of its earlier commands."""
    known: dict[Path, Reader] = {}
    made: dict[str, list[Path]] = {}

    def reader_of(page: Path) -> Reader:
        if page not in known:
            folder = tmp_path_factory.mktemp(page.stem) / "reader"
            shutil.copytree(supplies, folder, symlinks=True)
            if "--out heldout" not in page.read_text(encoding="utf-8"):
                shutil.copytree(supplies / "laboratory-test", folder / "heldout")
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                known[page] = Reader(folder, free.getsockname()[1], BIN, made)
        return known[page]

    yield reader_of
    for reader in known.values():
        reader.leave()


def commands_in_text(page: Path) -> list[str]:
    """sweepdepth commands in the running text of a page, as `code`."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`((?:sweepdepth|\./run) [^`]+)`", text)]


def steps_of_pages() -> list[Any]:
    """(page, kind, command or Python code, whether it is the page's last), each a test; in the order of the page."""
    found = []
    for page in PAGES:
        steps = []
        for block in blocks_of(page):
            if block.kind == "sh":
                steps += [("sh", command) for command in block.commands]
            elif block.kind == "python" and page.name != "README.md":  # which tests/test_readme.py covers
                steps.append(("python", block.text))
        for number, (kind, text) in enumerate(steps):
            name = f"{page.stem}-{number}-" + "-".join(text.split()[:2])
            found.append(pytest.param(page, kind, text, number == len(steps) - 1, id=name))
    return found


@pytest.mark.slow
@pytest.mark.blender
@pytest.mark.skipif(find_spec("bpy") is None or find_spec("torch") is None, reason="the extras are not all installed")
@pytest.mark.parametrize("page,kind,text,last", steps_of_pages())
def test_commands_of_the_pages_work(page, kind, text, last, readers):
    reader = readers(page)
    if kind == "python":
        reader.run_python(text)
    else:
        reader.do(text)
    if last:
        reader.hear_out()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_the_text_have_existing_options(page):
    import typer

    from sweepdepth.cli.main import app

    for text in commands_in_text(page):
        words = text.split()
        if words[0] == "./run":
            read_only([word for word in words if word != "…"])
            continue
        command = typer.main.get_command(app)
        for word in name_of(words).split():
            assert word in command.commands, f"{page.name}: {text}"  # pyright: ignore[reportAttributeAccessIssue]
            command = command.commands[word]  # pyright: ignore[reportAttributeAccessIssue]
        known = {option for parameter in command.params for option in parameter.opts}
        unknown = {word for word in words if word.startswith("--")} - known - {"--help"}
        assert not unknown, f"{page.name}: {text}: {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_toml_blocks_are_accepted_by_the_commands(page, tmp_path):
    from sweepdepth.synth.generation.config import GenerationConfig

    for block in blocks_of(page):
        if block.kind != "toml":
            continue
        if "far_diopters = [" in block.text or "range_diopters" in block.text:
            (tmp_path / "config.toml").write_text(block.text)
            GenerationConfig.load(tmp_path / "config.toml")
        elif "[lens]" in block.text:
            Calibration.parse(block.text)


@pytest.mark.parametrize(
    "command",
    [
        "sweepdepth live --camera dv --lens lens.toml --recrod sweep.h5",
        "sweepdepth synth render --out d --scenes 3 --scheduler tcp://10.0.0.1:8786 --sed 1",
        "dask worker tcp://10.0.0.1:8786 --nworker 16 --nthreadss 1",
        "./run benhc wire",
        "./run bench wire --no-such-option",
        "python3 examples/ros2_bridge.py tcp://127.0.0.1:5560 --farme camera",
        "sweepdepth no-such-command --scheduler",
    ],
)
def test_a_misspelt_command_that_is_only_parsed_fails(command):
    with pytest.raises((AssertionError, FileNotFoundError)):
        read_only(shlex.split(command))


@pytest.mark.slow
def test_a_misspelt_command_that_is_run_fails(readers):
    with pytest.raises(AssertionError, match="No such option"):
        readers(ROOT / "README.md").do("sweepdepth info lens.toml --pictrue lens.png")


def test_containers_use_existing_extras_and_commands():
    yaml = pytest.importorskip("yaml")
    run, libraries = (ROOT / "run").read_text(), re.compile(r"\blib[\w.+-]+\b")
    for name in ("Dockerfile", "Dockerfile.all"):
        text = (ROOT / "docker" / name).read_text()
        (named,) = re.findall(r"\.whl\)\[([\w,]+)\]", text)
        assert set(named.split(",")) <= extras().keys()
        installed = libraries.findall(re.findall(r"apt-get install (.*?)&&", text, re.DOTALL)[0])
        wanted = libraries.findall(re.findall(r'^SYSTEM_PACKAGES="(.*)"', run, re.MULTILINE)[0])
        assert set(installed) == (set(wanted) if name == "Dockerfile.all" else {"libatomic1"})
        for line in re.findall(r"^#     (docker .*)", text, re.MULTILINE):
            read_only(shlex.split(line))
    text = (ROOT / "docker" / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert (ROOT / "docker" / services["depth"]["build"]["dockerfile"].removeprefix("docker/")).is_file()
    commented = re.findall(r"# command: (.*)", text)
    for command in [service["command"] for service in services.values()] + commented:
        read_only(["sweepdepth", *shlex.split(command)])


def test_the_install_page_knows_every_extra():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert rows == extras().keys() - {"test", "docs"}


def test_python_blocks_of_pages_are_python():
    for page in PAGES:
        for block in blocks_of(page):
            if block.kind in ("python", "py"):
                ast.parse(block.text)
