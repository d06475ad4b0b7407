"""Every command of README and docs is run as it stands there, in a folder that has what the page speaks of.

What would take long is made small: datasets of one tiny scene, training of a few steps. What needs another machine,
hardware or the whole checkout is listed in `OUT_OF_REACH`; its options are still read by the real command line.
"""

import ast
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from sweepdepth import Calibration
from sweepdepth.capture.events import Batch
from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.stream.demo import recording_path
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PORT = "5560"  # the one that pages use

OUT_OF_REACH = {
    "./run": "sets up the checkout itself",
    "ssh": "another machine",
    "sudo": "the system's packages",
    "pip install": "packages of others",
    "python3 -m venv": "an environment of its own",
    "docker": "Docker",
    "dask": "other machines",
    "source /opt/ros": "ROS 2",
    "python3 examples/ros2_bridge.py": "ROS 2",
    "sweepdepth live": "a camera and a lens",
    "sweepdepth convert camera.bag": "a bag",
    "sweepdepth cameras": "a camera and a lens",
    "sweepdepth lens": "a lens",
    "sweepdepth calibrate": "a camera, a lens and a target",
    "sweepdepth synth render --scheduler": "other machines",
}
"""Beginnings of commands, or a command and an option, that are read and not run."""

NEEDS = {
    "node": ROOT / "examples" / "node" / "node_modules" / "zeromq",
    "make": Path("/usr/include/zstd.h"),
    "examples/cpp/subscriber": Path("/usr/include/zstd.h"),
}
"""Commands that a machine may lack the packages for; they have tests of their own that say so."""

SMALLER = {
    "synth render": ["--scenes", "1", "--workers", "1"],
    "train": ["--steps", "3", "--batch", "2", "--workers", "0", "--threads", "1"],
    "eval": [],
}
"""Costly commands, and options that come instead of their own. Of those with the same options one is run, the others
are read, and get a copy of what that one made."""

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


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str  # sh, python, toml
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block that are commands, joined where they go on."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if shlex.split(line, comments=True)]


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [Block(kind, text) for kind, text in found]


def name_of(words: list[str]) -> str:
    """`synth render` of `sweepdepth synth render --out …`; of another command its first word."""
    if words[0] != "sweepdepth":
        return words[0]
    names = [word for word in words[1:3] if re.fullmatch(r"[a-z][a-z-]*", word)]
    return " ".join(names if names[:1] in (["synth"], ["keys"], ["lens"]) else names[:1])


def out_of_reach(words: list[str]) -> bool:
    return any(
        shlex.join(words).startswith(first)
        or ("--" in first and name_of(words) in first and first.split()[-1] in words)
        for first in OUT_OF_REACH
    )


def parse(words: list[str]) -> None:
    """Let the real command line read a command of ours, up to the call."""
    import typer

    from sweepdepth.cli.main import app

    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        found = command.commands.get(rest[0])  # pyright: ignore[reportAttributeAccessIssue]
        assert found is not None, f"{shlex.join(words)}: there is no {rest[0]}"
        command, rest = found, rest[1:]
    read_options(command, rest, words)


def read_options(command: Any, rest: list[str], words: list[str]) -> None:
    """Let a command of click read its options."""
    try:
        command.make_context(words[0], rest)
    except Exception as error:
        # Typer has a click of its own, so the class of a usage error says little.
        explain = getattr(error, "format_message", None)
        if explain is None:
            raise
        raise AssertionError(f"{shlex.join(words)}: {explain()}") from error


def read_only(words: list[str]) -> None:
    """Check a command that is out of reach, without running it."""
    match words:
        case ["sweepdepth", *_]:
            parse(words)
        case ["./run", job, *rest]:
            assert re.search(rf"^{job}\)", (ROOT / "run").read_text(), re.MULTILINE), f"./run {job}"
            if job == "bench":
                check_bench(rest)
        case ["dask", job, *rest]:
            from distributed.cli import dask_scheduler, dask_worker

            read_options({"scheduler": dask_scheduler, "worker": dask_worker}[job].main, rest, words)
        case ["python3", script, *rest]:
            for option in (word for word in rest if word.startswith("--")):
                assert f'"{option}"' in (ROOT / script).read_text(), f"{script} {option}"
        case ["pip", "install", *rest]:
            for named in re.findall(r"^(?:sweepdepth|\.)\[([\w,]+)\]", "\n".join(rest), re.MULTILINE):
                assert set(named.split(",")) <= extras().keys(), named
        case ["python3", "-m", "venv", _]:
            pass
        case ["docker", *rest]:
            read_docker(rest)
        case ["ssh" | "sudo" | "source", *_]:
            pass
        case _:
            raise AssertionError(f"{shlex.join(words)}: nobody knows how to check this")


def extras() -> dict[str, list[str]]:
    """The extras of the package, and what each asks for."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def read_docker(words: list[str]) -> None:
    """The files that a docker command names are there, and what it has the container run is a command of ours."""
    if "-f" in words:
        assert (ROOT / words[words.index("-f") + 1]).is_file(), words
    match words:
        case ["run", *rest]:
            image = next(k for k, word in enumerate(rest) if word.partition(":")[0] == "sweepdepth")
            read_only(["sweepdepth", *rest[image + 1 :]])
        case ["build", *_] | ["compose", *_]:
            pass
        case _:
            raise AssertionError(f"docker {shlex.join(words)}: nobody knows how to check this")


def check_bench(words: list[str]) -> None:
    """A bench of this name is there, and its source has the options."""
    if not words or words[0].isupper():
        return  # the list of them, or a word that stands for any
    name, *options = words
    source = (ROOT / "bench" / f"{name}.py").read_text() + (ROOT / "bench" / "__main__.py").read_text()
    for option in options:
        if option.startswith("--"):
            assert f'"{option}"' in source, f"./run bench {name} {option}"


@dataclass
class Reader:
    """Somebody who follows a page, in a folder of their own."""

    folder: Path
    port: int
    made: dict[str, list[Path]]  # by command: what it made when it first ran, on whatever page
    publisher: "subprocess.Popen[str] | None" = None

    @property
    def environment(self) -> dict[str, str]:
        paths = [str(BIN), os.environ.get("PATH", "")]
        return os.environ | {"PATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

    def adapted(self, text: str) -> str:
        """A text of the page for this machine: a port of its own, no other machines, and patience."""
        text = re.sub(r"(--timeout |timeout=)\d+", r"\g<1>200", text).replace("RCVTIMEO, 60_000", "RCVTIMEO, 200_000")
        return text.replace(PORT, str(self.port)).replace("robot.local", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")

    def start(self, command: "str | list[str]") -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", "-ec", command] if isinstance(command, str) else command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: "subprocess.Popen[str]", command: str, expect: int = 0) -> str:
        try:
            out, err = process.communicate(timeout=240)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == expect, f"{command}\nexit {process.returncode}\n{out}{err}"
        return out + err

    def do(self, command: str) -> None:
        """Run one command of a page, or take what it made when an earlier page had it."""
        text = shlex.join(shlex.split(command, comments=True))
        if text in self.made and self.publisher is None:  # a publisher of this page is waiting to be heard
            for path in self.made[text]:
                copy = shutil.copytree if path.is_dir() else shutil.copy
                assert not (self.folder / path.name).exists(), f"{command}: {path.name} exists already"
                copy(path, self.folder / path.name)
            return
        before = set(self.folder.iterdir())
        self.run(command)
        self.made[text] = sorted(set(self.folder.iterdir()) - before)

    def run(self, command: str) -> None:
        words = shlex.split(command, comments=True)
        name = name_of(words)
        if out_of_reach(words):
            read_only(words)
        elif any(name == tool and not there.exists() for tool, there in NEEDS.items()):
            pass
        elif "--publish" in words:
            self.hear_out()
            self.publisher = self.start(self.adapted(command))
        elif name == "view" and "://" not in command:
            self.look(command)
        elif name in ("listen", "view", "node", "examples/cpp/subscriber"):
            self.receive(command, until_page=name == "view")
        elif name == "demo" and "--view" in words:
            self.look(command)
        elif name in SMALLER:
            self.make(words, name)
        else:
            self.finish(self.start(self.adapted(command)), command)

    def make(self, words: list[str], name: str) -> None:
        """Run a costly command in small, unless one like it was run before."""
        parse(words)
        like = " ".join([name, *sorted({word for word in words if word.startswith("--")})])
        out = self.folder / words[words.index("--out") + 1] if "--out" in words else None
        if like not in self.made:
            self.finish(self.start(shlex.join([*words, *SMALLER[name]])), shlex.join(words))
            self.made[like] = [out] if out else []
        elif out is not None:
            shutil.copytree(self.made[like][0], out)

    def receive(self, command: str, until_page: bool = False) -> None:
        """Run a subscriber against the page's publisher, or one of the bundled recording."""
        if self.publisher is None:
            self.publisher = self.start(self.adapted(PUBLISH))
        if until_page:
            self.look(command)
            self.finish(self.publisher, PUBLISH)
        else:
            receiver = self.start(self.adapted(command))
            self.finish(self.publisher, PUBLISH)
            self.finish(receiver, command)
        self.publisher = None

    def look(self, command: str) -> None:
        """Start what serves a page, and end it with Ctrl-C once its address is said."""
        words = shlex.split(self.adapted(command), comments=True)
        process = self.start([str(BIN / words[0]), *words[1:]])
        assert process.stderr is not None
        killer = threading.Timer(120, process.kill)
        killer.start()
        try:
            line = process.stderr.readline()
            assert "the live page is at http://127.0.0.1:" in line, line + process.stderr.read()
            if self.publisher is not None:
                self.publisher.wait(timeout=100)
            process.send_signal(signal.SIGINT)
            self.finish(process, command, expect=130)
        finally:
            killer.cancel()
            process.kill()

    def run_python(self, code: str) -> None:
        """Run a Python block of the page."""
        if PORT in code and self.publisher is None:
            self.publisher = self.start(self.adapted(PUBLISH))
        self.finish(self.start([sys.executable, "-c", self.adapted(code)]), code)
        if PORT in code and self.publisher is not None:
            self.finish(self.publisher, PUBLISH)
            self.publisher = None

    def hear_out(self) -> None:
        """Listen to a publisher that the page itself has no subscriber for."""
        if self.publisher is not None:
            self.receive(f"sweepdepth listen tcp://127.0.0.1:{PORT}")


PUBLISH = f"sweepdepth replay stream/demo_recording.h5 --publish tcp://127.0.0.1:{PORT} --wait-subscribers 1"


def write_older_aedat(folder: Path, table: np.ndarray) -> None:
    """Recordings of jAER and cAER, in which events are words of address and time."""
    t, x, y, p = table.T
    t = t - t[0]
    words = np.stack([y << 22 | x << 12 | p << 11, t], 1).astype(">u4")
    (folder / "jaer.aedat").write_bytes(b"#!AER-DAT2.0\r\n# AEChip: DAVIS240C\r\n" + words.tobytes())
    packet = np.array([8, 0, 0, len(t), len(t), len(t)], "<i4").tobytes()
    words = np.stack([x << 17 | y << 2 | p << 1 | 1, t], 1).astype("<u4")
    head = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n\1\0\1\0"
    (folder / "caer.aedat").write_bytes(head + packet + words.tobytes())


@pytest.fixture(scope="module")
def supplies(tmp_path_factory) -> Path:
    """What pages take for granted: a checkout's files, recordings, photographs, models."""
    folder = tmp_path_factory.mktemp("supplies")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").write_text(f"PATH={shlex.quote(str(BIN))}:$PATH\n")
    (folder / "stream").mkdir()
    (folder / "stream" / "demo_recording.h5").symlink_to(recording_path())
    (folder / "examples" / "weights").mkdir(parents=True)
    for config in (ROOT / "examples" / "weights").glob("*.toml"):
        (folder / "examples" / "weights" / config.name).write_text(TINY)
    (folder / "mine.toml").write_text(TINY)
    (folder / "examples" / "node").symlink_to(ROOT / "examples" / "node")
    (folder / "examples" / "cpp").mkdir()
    for name in ("Makefile", "subscriber.cpp"):
        shutil.copy(ROOT / "examples" / "cpp" / name, folder / "examples" / "cpp")
    with h5py.File(recording_path()) as file:
        lens = str(file.attrs["lens_toml"])
    (folder / "lens.toml").write_text(lens)
    with open_recording(recording_path()) as recording:
        write_recording(folder / "sweep.aedat4", recording, recording.width, recording.height, Calibration.parse(lens))
        events, triggers = recording.read()
    rows = zip(triggers["timestamp"].tolist(), triggers["edge"].tolist(), strict=True)
    (folder / "edges.csv").write_text("t_us,edge\n" + "".join(f"{t},{edge}\n" for t, edge in rows))
    columns = {name: events[name].astype(np.int64) for name in ("timestamp", "x", "y", "polarity")}
    table = np.stack(list(columns.values()), axis=1)
    savemat(folder / "events.mat", {"TD": columns})
    np.savetxt(folder / "events.txt", table[:5000], fmt="%d")
    with h5py.File(folder / "table.h5", "w") as file:
        file["events"] = table
    write_older_aedat(folder, table[:5000])
    calibration = Calibration.parse(LABORATORY_LENS)
    for name, diopters in (("laboratory", 1.2), ("laboratory-test", 1.8)):
        target = folder / name
        target.mkdir()
        images = plane_images(make_texture(), calibration, focus_steps(calibration), diopters)
        recorded = simulate_sweeps(images, calibration, PRESETS["clean"], sweeps=2, seed=0)
        batch = Batch(recorded.events, recorded.triggers, int(recorded.triggers["timestamp"][-1]) + 1)
        write_recording(target / "target.h5", [batch], 64, 48)
        (target / "target.toml").write_text(LABORATORY_LENS)
        np.save(target / "target_depth.npy", np.full((48, 64), 1 / diopters, np.float32))
    (folder / "photographs").mkdir()
    random = np.random.default_rng(0)
    sharp = random.integers(0, 255, (36, 48), dtype=np.uint8)
    for number in range(3):
        picture = Image.fromarray(sharp).resize((240 >> number, 180 >> number)).resize((240, 180))
        picture.save(folder / "photographs" / f"{number}.png")
    (folder / "models").mkdir()
    corners = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1))
    (folder / "models" / "box.obj").write_text(corners + "f 1 2 4 3\nf 5 6 8 7\nf 1 2 6 5\nf 3 4 8 7\nf 1 3 7 5\n")
    if find_spec("bpy") is not None:
        save = f"import bpy; bpy.ops.wm.save_as_mainfile(filepath={str(folder / 'kitchen.blend')!r})"
        subprocess.run([sys.executable, "-c", save], check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def readers(tmp_path_factory, supplies) -> Iterator[Callable[[Path], Reader]]:
    """The reader of each page, who remembers what was done on it before."""
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
                known[page] = Reader(folder, free.getsockname()[1], made)
        return known[page]

    yield reader_of
    for reader in known.values():
        if reader.publisher is not None:
            with reader.publisher as publisher:
                publisher.kill()


def commands_in_text(page: Path) -> list[str]:
    """Our commands that a page speaks of between its blocks, as `code`."""
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
            elif block.kind == "python" and page.name != "README.md":  # that one has a test of its own
                steps.append(("python", block.text))
        for number, (kind, text) in enumerate(steps):
            name = f"{page.stem}-{number}-" + "-".join(text.split()[:2])
            found.append(pytest.param(page, kind, text, number == len(steps) - 1, id=name))
    return found


@pytest.mark.slow
@pytest.mark.blender
@pytest.mark.skipif(find_spec("bpy") is None or find_spec("torch") is None, reason="the extras are not all installed")
@pytest.mark.parametrize("page,kind,text,last", steps_of_pages())
def test_a_reader_can_do_what_a_page_says(page, kind, text, last, readers):
    reader = readers(page)
    if kind == "python":
        reader.run_python(text)
    else:
        reader.do(text)
    if last:
        reader.hear_out()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_the_text_name_options_that_exist(page):
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
def test_toml_blocks_are_what_the_commands_accept(page, tmp_path):
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
def test_a_misspelt_command_that_is_only_read_is_noticed(command):
    with pytest.raises((AssertionError, FileNotFoundError)):
        read_only(shlex.split(command))


@pytest.mark.slow
def test_a_misspelt_command_that_is_run_is_noticed(readers):
    with pytest.raises(AssertionError, match="No such option"):
        readers(ROOT / "README.md").do("sweepdepth info lens.toml --pictrue lens.png")


def test_containers_are_made_of_extras_that_exist_and_run_commands_that_exist():
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
