"""A simulated reader of the pages, who runs each command as written, in a separate folder."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from .pages import ROOT, name_of, out_of_reach, parse, read_only

PORT = "5560"  # the one that pages use

NEEDS = {
    "node": ROOT / "examples" / "node" / "node_modules" / "zeromq",
    "make": Path("/usr/include/zstd.h"),
    "examples/cpp/subscriber": Path("/usr/include/zstd.h"),
}
"""Commands whose packages may be missing; separate tests cover them."""

SMALLER = {
    "synth render": ["--scenes", "1", "--workers", "1"],
    "train": ["--steps", "3", "--batch", "2", "--workers", "0", "--threads", "1"],
    "eval": [],
}
"""Expensive commands, with options that replace those of the page. Of commands with equal options one is run; the
others are only parsed, and get a copy of its output."""


@dataclass
class Reader:
    """Follows a page in a separate folder."""

    folder: Path
    port: int
    bin: Path  # folder of the installed commands
    made: dict[str, list[Path]] = field(default_factory=dict)  # output of each command when it first ran, on any page
    patience_s: float = 240
    publisher: "subprocess.Popen[str] | None" = None
    sender: "subprocess.Popen[str] | None" = None  # of events

    @property
    def environment(self) -> dict[str, str]:
        paths = [str(self.bin), os.environ.get("PATH", "")]
        return os.environ | {"PATH": os.pathsep.join(paths), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

    def adapted(self, text: str) -> str:
        """A text of the page adapted to this machine: an unused port, no other machines, longer timeouts."""
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
            out, err = process.communicate(timeout=self.patience_s)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == expect, f"{command}\nexit {process.returncode}\n{out}{err}"
        return out + err

    def do(self, command: str) -> None:
        """Run a command of a page, or copy its output if an earlier page contained it."""
        text = shlex.join(shlex.split(command, comments=True))
        if text in self.made and self.publisher is None:  # a publisher of this page waits for subscribers
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
        elif words[:2] == ["python", "examples/pipe_sender.py"]:
            self.sender = self.start(f"exec {command}")
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
        """Run an expensive command with small sizes, unless one like it was run before."""
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
        """Start a command that serves a web page, and end it with Ctrl-C once it prints its address."""
        words = shlex.split(self.adapted(command), comments=True)
        process = self.start([str(self.bin / words[0]), *words[1:]])
        assert process.stderr is not None
        killer = threading.Timer(self.patience_s / 2, process.kill)
        killer.start()
        try:
            line = process.stderr.readline()
            assert "the live page is at http://127.0.0.1:" in line, line + process.stderr.read()
            if self.publisher is not None:
                self.publisher.wait(timeout=0.4 * self.patience_s)
            process.send_signal(signal.SIGINT)
            self.finish(process, command, expect=130)
        finally:
            killer.cancel()
            process.kill()

    def run_python(self, code: str) -> None:
        """Run a Python block of the page."""
        if PORT in code and self.publisher is None:
            self.publisher = self.start(self.adapted(PUBLISH))
        self.finish(self.start([str(self.bin / "python"), "-c", self.adapted(code)]), code)
        if PORT in code and self.publisher is not None:
            self.finish(self.publisher, PUBLISH)
            self.publisher = None

    def leave(self) -> None:
        """End all running processes."""
        for process in (self.publisher, self.sender):
            if process is not None:
                process.kill()
                process.communicate()

    def hear_out(self) -> None:
        """Subscribe to a publisher for which the page has no subscriber."""
        if self.publisher is not None:
            self.receive(f"sweepdepth listen tcp://127.0.0.1:{PORT}")


PUBLISH = f"sweepdepth replay stream/demo_recording.h5 --publish tcp://127.0.0.1:{PORT} --wait-subscribers 1"
