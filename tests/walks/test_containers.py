"""The images of docker/, built and run without Docker: each line of a Dockerfile in a bare environment.

A stage is a folder with a fresh Python environment; absolute paths refer to it, and the caller's environment is empty.
`apt-get install` is simulated, accounts are not made, and packages that pip would download are links to those installed
here, limited to the extras. The compose file's commands then run with only home and data writable.
"""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ..installed import link_needed, make_python
from ..pages import ROOT

DOCKER = ROOT / "docker"
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
"""Root without the capability to override file permissions."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the images have Python 3.11"),
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("openvino", "serial", "viser", "torch", "bpy")),
        reason="the extras are not all installed",
    ),
]

APT = """#!/bin/sh
[ "$1" = update ] || {sh} -c 'apt-get --simulate "$@" >/dev/null' apt "$@"
"""
PIP = """#!/bin/sh
case "$1" in
wheel) exec {python} -m pip "$@" --no-build-isolation --no-index ;;
*) exec python -m pip "$@" --no-index ;;
esac
"""
USERADD = """#!/bin/sh
for name; do :; done
mkdir -p {home}/$name
"""


def instructions(path: Path) -> list[tuple[str, str]]:
    """The lines of a Dockerfile: (keyword, the rest), joined where they go on, without comments."""
    text = re.sub(r"^[ \t]*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


@dataclass
class Stage:
    """A folder that represents the root of an image."""

    root: Path
    others: Path  # packages that pip finds installed
    directory: str = "/"
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """The content of `FROM python:3.11-slim-bookworm`: Python, pip, and a shell."""
        make_python(self.root / "python")
        packages = self.root / "python" / "lib" / "python3.11" / "site-packages"
        (packages / "others.pth").write_text(f"{self.others}\n")
        self.others.mkdir(exist_ok=True)
        shims = self.root / "shims"
        shims.mkdir()
        texts = {
            "apt-get": APT.format(sh="env -u PATH PATH=/usr/sbin:/usr/bin:/sbin:/bin sh"),
            "pip": PIP.format(python=sys.executable),
            "useradd": USERADD.format(home=self.root / "home"),
        }
        for name, text in texts.items():
            (shims / name).write_text(text)
            (shims / name).chmod(0o755)

    def inside(self, text: str) -> str:
        """A text with its absolute paths mapped into this stage."""
        return re.sub(r"(?<![\w.$/}-])/(source|wheels|data|var/lib/apt/lists)\b", rf"{self.root}/\1", text)

    @property
    def environment(self) -> dict[str, str]:
        home = self.root / "home" / self.user
        path = f"{self.root}/shims:{self.root}/python/bin:/usr/bin:/bin"
        return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8"}

    @property
    def here(self) -> Path:
        return Path(self.inside(self.directory)) if self.directory != "/" else self.root

    def start(self, words: list[str]) -> "subprocess.Popen[str]":
        """A process in this stage, with the rights of its user."""
        words = words if self.user == "root" else [*POWERLESS, *words]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(words, cwd=self.here, env=self.environment, **streams)  # type: ignore[call-overload]

    def run(self, command: str) -> None:
        extras = re.findall(r"\.whl\)\[([\w,]+)\]", command)
        if extras:
            link_needed(self.others, set(extras[0].split(",")))
        with self.start(["sh", "-ec", self.inside(command)]) as process:
            out, err = process.communicate(timeout=800)
        assert process.returncode == 0, f"RUN {command}\n{out}{err}"


def build(dockerfile: str, folder: Path) -> Stage:
    """Follow a Dockerfile; the last stage is the image."""
    ignored = [line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().split()]
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for number, (keyword, rest) in enumerate(instructions(DOCKER / dockerfile)):
        if keyword == "FROM":
            assert rest.split()[0] == "python:3.11-slim-bookworm"
            root = folder / f"stage{number}"
            root.mkdir()
            stage = stages[rest.split()[-1]] = Stage(root, root / "others")
            stage.prepare()
            continue
        assert stage is not None
        match keyword, shlex.split(rest):
            case "WORKDIR", [directory]:
                stage.directory = directory
                stage.here.mkdir(exist_ok=True)
            case "COPY", [".", "."]:
                leave = shutil.ignore_patterns(*ignored, "*.egg-info", "build", ".*_cache", ".hypothesis")
                shutil.copytree(ROOT, stage.here, symlinks=True, ignore=leave, dirs_exist_ok=True)
            case "COPY", [source, there, target] if source.startswith("--from="):
                copied = stages[source.removeprefix("--from=")]
                shutil.copytree(copied.inside(there), stage.inside(target), dirs_exist_ok=True)
            case "COPY", [name, target]:
                Path(stage.inside(target)).mkdir(exist_ok=True)
                shutil.copy(ROOT / name, stage.inside(target))
            case "RUN", _:
                stage.run(rest)
            case "USER", [name]:
                stage.user = name
                for path in (stage.root / "python").rglob("*"):
                    if path.is_dir() and not path.is_symlink():
                        path.chmod(0o555)
            case "ENTRYPOINT", _:
                stage.entrypoint = json.loads(rest)
            case "CMD", _:
                stage.command = json.loads(rest)
            case _:
                raise AssertionError(f"{dockerfile}: nobody knows how to do {keyword} {rest}")
    assert stage is not None
    return stage


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def runtime(folder) -> Stage:
    (folder / "runtime").mkdir()
    return build("Dockerfile", folder / "runtime")


def test_the_runtime_image_is_complete_and_minimal(runtime):
    assert runtime.user != "root"
    assert runtime.entrypoint == ["sweepdepth"]
    with runtime.start([*runtime.entrypoint, *runtime.command]) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "Usage: sweepdepth" in out
    with runtime.start(["python", "-c", "import openvino, serial, viser, torch"]) as process:
        _, err = process.communicate(timeout=200)
    assert "No module named 'torch'" in err
    cached = list((runtime.root / "home" / runtime.user).rglob("*.nbi"))
    assert cached, "what is compiled on first use was not kept"


def test_the_image_with_everything_is_made(folder):
    (folder / "all").mkdir()
    image = build("Dockerfile.all", folder / "all")
    with image.start([*image.entrypoint, "doctor"]) as process:
        out, err = process.communicate(timeout=500)
    assert process.returncode == 0, out + err
    assert not re.search(r"^(missing|failed)", out, re.MULTILINE), out


def lines_until_the_end(process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """The lines of JSON that a `listen --follow` prints, up to the end of the first stream."""
    assert process.stdout is not None
    lines = []
    for text in process.stdout:
        lines.append(json.loads(text))
        if lines[-1].get("end"):
            return lines
    raise AssertionError(f"it ended before the stream\n{process.communicate()[1]}")


def test_the_composed_services_run_together(runtime):
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    assert set(services) == {"depth", "page", "metrics"}
    runtime.here.chmod(0o555)
    with runtime.start(["sweepdepth", "examples", "here"]) as process:
        assert "cannot be made" in process.communicate(timeout=100)[1]
    runtime.here.chmod(0o755)  # like a mounted folder
    with runtime.start(["sweepdepth", "examples", "."]) as process:
        assert process.wait(timeout=200) == 0
    ports = {}
    for port in ("5560", "8080"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports[port] = str(free.getsockname()[1])
    started = {}
    try:
        for name, service in services.items():
            assert service["image"] == "sweepdepth"
            words = shlex.split(re.sub("5560|8080", lambda match: ports[match[0]], service["command"]))
            started[name] = runtime.start([*runtime.entrypoint, *words])
        lines = lines_until_the_end(started["metrics"])
        status = started["depth"].wait(timeout=300)
        assert status == 0, started["depth"].communicate()[1]
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{ports['8080']}/", timeout=10) as answer:
                    assert b"<html" in answer.read()
                break
            except OSError:
                assert time.monotonic() < deadline, "the page does not answer"
                time.sleep(0.5)
    finally:
        for process in started.values():
            process.terminate()
        said = {name: process.communicate(timeout=60) for name, process in started.items()}
    n_depth = sum(line["topic"] == "depth" for line in lines)
    assert n_depth > 0
    assert n_depth + lines[-1]["drops"] == 4  # as live: sweeps that find the estimator busy are left out
    assert all(line["events_per_s"] >= 0 for line in lines if line["topic"] == "status")
    assert "the live page is at" in said["page"][1]
