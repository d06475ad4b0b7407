"""Dependencies are pinned and explained; and restrictions of our code: no code from data, no network."""

import ast
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import h5py
import pytest
from packaging.utils import canonicalize_name

from sweepdepth.capture.files.dataset import Manifest, create_dataset
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.wire.keys import new_keys
from sweepdepth.stream.wire.publisher import Publisher
from tools import audit

from .installed import needed

ROOT = Path(__file__).parents[1]
FOLDERS = ("capture", "synth", "net", "stream", "cli")
COMMAND = Path(sys.executable).with_name("sweepdepth")


def pinned(name: str) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(package): version for package, version in pairs}


def test_all_dependencies_are_pinned():
    installed = needed({"", "all", "test", "docs"})
    assert len(installed) > 60
    known = pinned("constraints.txt")
    assert {name: version for name, version in installed.items() if known.get(name) != version} == {}


def test_every_direct_dependency_has_a_reason():
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    direct = [*project["dependencies"], *(n for extra, names in extras.items() if extra != "all" for n in names)]
    lines = {line for line in text.splitlines() if not line.startswith("all =")}
    for requirement in direct:
        found = [line for line in lines if f'"{requirement}"' in line]
        assert found
        assert all(re.search(r"#\s*\w+.{4,}$", line) for line in found), f"{requirement} has no reason beside it"


def test_the_audit_examines_exactly_the_pinned_packages():
    assert pinned("constraints-audit.txt")["pip-audit"]
    words = audit.command("constraints.txt")
    assert words[0].endswith(".venv/audit/bin/pip-audit")
    assert words[words.index("--requirement") + 1] == str(ROOT / "constraints.txt")
    assert {"--no-deps", "--disable-pip"} <= set(words)


def test_the_audit_reports_vulnerabilities_and_unexamined_packages():
    """pip-audit itself ignores packages that it could not look up, even if these are all."""
    sound = {"name": "numpy", "version": "1.26.4", "vulns": []}
    flawed = {"name": "pillow", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2", "3"]}]}
    skipped = {"name": "bpy", "skip_reason": "Dependency not found on PyPI"}
    status, lines = audit.judge({"dependencies": [sound, flawed, skipped]})
    assert status == 1
    assert lines[0] == "pillow 1: PYSEC-1, fixed in 2, 3"
    assert lines[-1] == "2 packages examined, 1 vulnerabilities known, 1 not examined"
    assert audit.judge({"dependencies": [sound, skipped]})[0] == 2
    assert audit.judge({"dependencies": [sound]})[0] == 0


def test_an_audit_without_a_database_is_a_one_line_error():
    skipped = [{"name": name, "skip_reason": "Dependency not found on PyPI"} for name in ("numpy", "torch")]
    for dependencies in ([], skipped):
        status, (line,) = audit.judge({"dependencies": dependencies})
        assert status == 2
        assert line.startswith("nothing was examined: the advisory database did not answer")


# Restrictions of our code


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """All calls in our code: place, name of the function, and the call."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    values = [k.value for k in call.keywords if k.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def test_no_data_is_executed():
    forbidden = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execvp", "yaml.load"}
    for where, name, call in calls():
        assert name not in forbidden, f"{where} calls {name}"
        assert keyword(call, "shell") is not True, f"{where} runs a shell"
        assert not name.startswith(("pickle.", "marshal.", "shelve.", "dill.", "joblib.")), f"{where} unpickles"
        if name in ("np.load", "numpy.load"):
            assert keyword(call, "allow_pickle") is False, f"{where} may unpickle"
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, f"{where} may unpickle"
        if name.endswith("trainer.fit"):
            assert keyword(call, "weights_only") is True, f"{where} may unpickle"


def test_hdf5_readers_check_for_external_references():
    """Or reads only our own files, or only names."""
    guarded = {"capture/recordings/dsec.py", "capture/files/dataset.py", "capture/files/depth_file.py"}
    others = {
        "capture/files/description.py": "names, and lengths of what `read_truth` has looked through",
        "net/cases.py": "names",
        "stream/demo.py": "the bundled recording",
        "stream/examples.py": "the bundled recording",
        "capture/formats/kinds.py": "names",
    }
    for where, name, call in calls():
        if name == "h5py.File" and not any(isinstance(a, ast.Constant) and a.value == "w" for a in call.args):
            assert where.split(":")[0] in guarded | others.keys(), f"{where} opens HDF5 unguarded"
    for path in guarded:
        assert "refuse_references(" in (ROOT / path).read_text()


def test_the_hosts_clock_is_read_for_latency_and_messages_alone():
    """All waiting and pacing uses the monotonic clock, which cannot be set."""
    allowed = {
        "stream/wire/publisher.py": "when a message was published",
        "stream/demo.py": "how long messages took",
        "stream/view/feed.py": "how long messages took; when a stream began, for people",
        "capture/atomic.py": "whether another machine's file has rested for a day",
    }
    wall = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "time.localtime"}
    found = {where.split(":")[0] for where, name, _ in calls() if name in wall or name.endswith("datetime.now")}
    assert found <= allowed.keys(), found - allowed.keys()


def test_permissions_are_minimal(tmp_path: Path):
    """Secrets are readable by their owner alone, whatever the umask, and no permissions are widened."""
    before = os.umask(0)
    try:
        _, secret = new_keys("robot", tmp_path / "keys")
    finally:
        os.umask(before)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    os.umask(0o022)
    try:
        create_dataset(tmp_path / "data" / "set", Manifest(0, {}))
        with Publisher(f"ipc://{tmp_path}/depth"):
            paths = [p for p in tmp_path.rglob("*") if p.name != "keys"]
            assert len(paths) >= 5
            for path in paths:
                # Without write permission to a socket nobody can connect to it.
                assert path.is_relative_to(tmp_path / "keys") or not path.stat().st_mode & 0o022, path
    finally:
        os.umask(before)
    for where, name, _ in calls():
        assert not name.endswith((".chmod", ".fchmod")), f"{where} changes permissions"


# No network

GUARD = """
import os, sys

def _watch(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{event} {host}\\n")

sys.addaudithook(_watch)
"""

ALONE = """
import ctypes, fcntl, os, socket, struct, sys
CLONE_NEWNET, CLONE_NEWUSER, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x10000000, 0x8914, 1
libc = ctypes.CDLL(None, use_errno=True)
alone = libc.unshare(CLONE_NEWNET) == 0 or libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
if alone:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.slow
def test_no_job_uses_a_network(tmp_path: Path):
    """Each job runs with only a loopback interface, if the system allows that, and tries no other connection."""
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    create_dataset(tmp_path / "data", Manifest(0, {}))
    (tmp_path / "data" / "scene_000000.h5").write_bytes(recording_path().read_bytes())
    log = tmp_path / "network.log"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "guard"), "NETWORK_LOG": str(log)}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")  # so that the network is converted, as on a first run

    def alone(*command: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", ALONE, *map(str, command)]
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250, check=False
        )

    probe = "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 0.1)\nexcept OSError: pass"
    alone(sys.executable, "-c", probe)
    assert "192.0.2.1" in log.read_text(), "the guard does not guard"
    log.unlink()

    jobs: list[tuple[object, ...]] = [("info", "data"), ("demo",)]
    if os.environ.get("SWEEPDEPTH_FAULT_ROUNDS") and find_spec("lightning"):  # minutes, on a busy machine
        jobs.append(("train", "--data", "data", "--out", "run", "--steps", 1, "--batch", 1, "--workers", 0))
    for job in jobs:
        done = alone(COMMAND, *job)
        assert done.returncode == 0, f"{job}: {done.stderr}"
    assert not log.exists(), log.read_text()


def test_the_bundled_recording_has_no_external_references():
    with h5py.File(recording_path()) as file:
        from sweepdepth.capture.recordings.hdf5 import refuse_references

        refuse_references(file)
