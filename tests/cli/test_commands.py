"""The command line, run like a user runs it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import typer
from typer.core import TyperGroup

from sweepdepth import Calibration
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, join, make_triggers
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.cli.main import app
from sweepdepth.cli.options import load_lens
from sweepdepth.cli.output import print_tables
from sweepdepth.stream.demo import recording_path
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import Flicker, focus_steps, simulate_sweeps

COMMAND = Path(sys.executable).with_name("sweepdepth")


def sweepdepth(*arguments, cwd=None, expect=0, **options):
    """Run the command; returns standard output and standard error."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **options
    )
    assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def demo_lens(tmp_path_factory):
    """The calibration of the bundled recording, as a file."""
    path = tmp_path_factory.mktemp("lens") / "lens.toml"
    with h5py.File(recording_path()) as file:
        path.write_text(str(file.attrs["lens_toml"]))
    return path


@pytest.fixture(scope="module")
def depth_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("depth") / "depth.h5"
    sweepdepth("replay", recording_path(), "--out", path)
    return path


def test_the_demo_shows_depth_against_truth_and_leaves_a_picture(tmp_path):
    out, _ = sweepdepth("demo", "--json", cwd=tmp_path)
    result = json.loads(out)
    assert result["frames_received"] == result["frames_published"] >= 4
    assert result["frames_lost"] == 0
    assert result["metrics"]["polarity"]["median_range"] < 0.1
    assert (tmp_path / result["picture"]).read_bytes().startswith(b"\x89PNG")
    assert len(read_depth_file(tmp_path / result["depth_file"])) == result["frames_published"]
    table, _ = sweepdepth("demo", cwd=tmp_path)
    assert "median error" in table
    assert "received" in table


def test_replay_writes_a_depth_file_that_info_and_convert_understand(tmp_path, depth_file):
    frames = read_depth_file(depth_file)
    assert len(frames) >= 4
    facts = json.loads(sweepdepth("info", depth_file, "--json")[0])
    assert facts["depth"]["frames"] == len(frames)
    sweepdepth("convert", depth_file, tmp_path / "depth.npy", "--frame", "-1")
    np.testing.assert_array_equal(np.load(tmp_path / "depth.npy"), frames.depth[-1])
    sweepdepth("convert", depth_file, tmp_path / "depth.png")
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
    sweepdepth("convert", depth_file, tmp_path / "depth.ply")
    header = (tmp_path / "depth.ply").read_bytes().split(b"end_header")[0].decode()
    assert f"element vertex {np.isfinite(frames.depth[0]).sum()}" in header


def test_a_recording_converts_there_and_back_and_replays_the_same(tmp_path, demo_lens, depth_file):
    sweepdepth("convert", recording_path(), tmp_path / "a.aedat4")
    sweepdepth("convert", tmp_path / "a.aedat4", tmp_path / "b.h5", "--lens", demo_lens)
    sweepdepth("replay", tmp_path / "b.h5", "--out", tmp_path / "again.h5")
    a, b = read_depth_file(depth_file), read_depth_file(tmp_path / "again.h5")
    np.testing.assert_array_equal(a.depth, b.depth)
    np.testing.assert_array_equal(a.t_start_us, b.t_start_us)


def test_replay_publishes_what_listen_saves(tmp_path, demo_lens, depth_file):
    address = f"ipc://{tmp_path}/depth"
    listener = subprocess.Popen(
        [COMMAND, "listen", address, "--lens", demo_lens, "--out", tmp_path / "heard.h5", "--json", "--timeout", "60"],
        stdout=subprocess.PIPE,
        text=True,
    )
    sweepdepth("replay", recording_path(), "--publish", address, "--wait-subscribers", "1")
    out, _ = listener.communicate(timeout=60)
    assert listener.returncode == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["seq"] for line in lines if line["topic"] == "depth"] == list(range(len(read_depth_file(depth_file))))
    assert lines[-1]["end"] is True
    np.testing.assert_array_equal(read_depth_file(tmp_path / "heard.h5").depth, read_depth_file(depth_file).depth)


FLICKERING_LENS = """
camera = { width = 64, height = 48, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 32.0, cy = 24.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""


def test_flicker_is_averaged_unless_kept_by_option(tmp_path):
    lens = Calibration.parse(FLICKERING_LENS)
    images = plane_images(make_texture("natural", 1, 0.6), lens, focus_steps(lens), 1.4)
    seen = simulate_sweeps(images, lens, PRESETS["davis346"], sweeps=8, seed=1, flicker=Flicker(100.0, 0.4))
    end_us = 1 + max(int(part["timestamp"][-1]) for part in (seen.events, seen.triggers))
    write_recording(tmp_path / "lamp.h5", [Batch(seen.events, seen.triggers, end_us)], 64, 48, lens)
    error, warnings = {}, {}
    for option in ("--suppress-flicker", "--keep-flicker"):
        out = tmp_path / f"{option}.h5"
        line, _ = sweepdepth("replay", tmp_path / "lamp.h5", "--out", out, "--estimator", "polarity", "--json", option)
        warnings[option] = " ".join(json.loads(line)["warnings"])
        # The last sweeps, since detecting flicker takes half a second. Unknown pixels count as wrong.
        error[option] = np.median(np.nan_to_num(np.abs(1 / read_depth_file(out).depth[5:7] - 1.4), nan=2.0))
    assert "flickers at 100 Hz" in warnings["--keep-flicker"]
    assert "averaged away" in warnings["--suppress-flicker"]
    assert "averaged away" not in warnings["--keep-flicker"]
    assert error["--suppress-flicker"] < 0.15
    assert error["--keep-flicker"] > 2 * error["--suppress-flicker"]


def in_python(code: str, *arguments: object) -> list[str]:
    """The output of code that runs in the same interpreter after the command with these arguments."""
    whole = f"import sys\n{code}\nfrom sweepdepth.cli import main\ntry:\n    main()\nfinally:\n    report()\n"
    words = [sys.executable, "-c", whole, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stderr.splitlines()


def test_replay_opens_its_recording_once(tmp_path):
    """Opening starts a worker process, which takes most of a second."""
    count = (
        "started = []\n"
        "def note(event, arguments):\n"
        "    if event == 'subprocess.Popen' and '\"role\": \"source\"' in str(arguments[1][-1]):\n"
        "        started.append(arguments)\n"
        "sys.addaudithook(note)\n"
        "def report():\n"
        "    print(len(started), file=sys.stderr)"
    )
    lines = in_python(count, "replay", recording_path(), "--out", tmp_path / "depth.h5", "--estimator", "polarity")
    assert lines[-1] == "1"


def test_help_loads_nothing_heavy():
    heavy = "{'numpy', 'pydantic', 'h5py', 'scipy'} & sys.modules.keys()"
    names = f"def report():\n    print(*sorted({heavy}), file=sys.stderr)"
    assert in_python(names, "--help") == [""]


def test_replay_and_live_have_the_same_options_where_both_have_one():
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    commands = group.commands
    replay, live = (
        {p.name: (p.opts, p.secondary_opts, p.default, getattr(p, "help", None)) for p in commands[name].params}
        for name in ("replay", "live")
    )
    shared = (replay.keys() & live.keys()) - {"lens"}  # live cannot take it from a recording
    assert {"suppress_flicker", "rate", "estimator", "publish", "first_direction"} <= shared
    assert {name: replay[name] for name in shared} == {name: live[name] for name in shared}


def test_an_interrupted_replay_keeps_what_it_computed_and_exits_130(tmp_path, depth_file):
    out = tmp_path / "depth.h5"
    process = subprocess.Popen([COMMAND, "replay", recording_path(), "--out", out, "--speed", "0.2"])
    deadline = time.monotonic() + 100
    # With the first frame in it, regardless of the estimator's loading time.
    while time.monotonic() < deadline and not any(p.stat().st_size > 20_000 for p in tmp_path.glob(".*.partial.h5")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    kept, whole = read_depth_file(out), read_depth_file(depth_file)
    assert 0 < len(kept) < len(whole)
    np.testing.assert_array_equal(kept.depth, whole.depth[: len(kept)])


def test_info_describes_a_recording_and_a_calibration(demo_lens):
    facts = json.loads(sweepdepth("info", recording_path(), "--json")[0])
    assert facts["recording"]["events"] > 10_000
    assert 4 <= facts["sweeps"]["found"] == len(facts["sweeps"]["directions"]) <= 8
    assert facts["recording"]["bytes"] == recording_path().stat().st_size
    assert 0.5 < facts["recording"]["duration_s"] < 5
    assert facts["recording"]["events_per_s"] == pytest.approx(
        facts["recording"]["events"] / facts["recording"]["duration_s"]
    )
    calibration = Calibration.load(demo_lens)
    facts = json.loads(sweepdepth("info", demo_lens, "--json")[0])
    camera, lens, sweep = calibration.camera, calibration.lens, calibration.sweep
    assert (facts["camera"]["width"], facts["camera"]["height"]) == (camera.width, camera.height)
    assert facts["lens"]["aperture_mm"] == pytest.approx(1e3 * lens.aperture_m)
    assert facts["sweep"]["near_m"] == pytest.approx(1 / sweep.near_diopters)
    assert facts["sweep"]["frequency_hz"] == sweep.frequency_hz
    text, _ = sweepdepth("info", demo_lens)
    assert f"{camera.width}×{camera.height} pixels" in text


def test_info_takes_a_sensor_size_missing_in_the_file(tmp_path):
    (tmp_path / "a.csv").write_text("t_us,x,y,p\n" + "".join(f"{k * 10},{k % 96},{k % 72},1\n" for k in range(500)))
    assert "does not say how large" in sweepdepth("info", tmp_path / "a.csv", expect=1)[1]
    facts = json.loads(sweepdepth("info", tmp_path / "a.csv", "--size", "96x72", "--json")[0])
    assert (facts["recording"]["width"], facts["recording"]["height"]) == (96, 72)
    assert facts["recording"]["events"] == 500
    assert "expected width and height" in sweepdepth("info", tmp_path / "a.csv", "--size", "96", expect=2)[1]
    assert "leave out --size" in sweepdepth("info", recording_path(), "--size", "96x72", expect=1)[1]
    said = sweepdepth("info", tmp_path / "a.csv", "--size", "48x36", expect=1)[1]
    assert "lie off the sensor of 48×36 pixels; is this its size?" in said
    assert "--size" in sweepdepth("convert", tmp_path / "a.csv", tmp_path / "a.h5", expect=1)[1]
    said = sweepdepth("convert", tmp_path / "a.csv", tmp_path / "a.h5", "--size", "96x72", "--check")[1]
    assert "500 events are identical" in said
    (tmp_path / "edges.csv").write_text("time_us,edge\n0,rising\n2000,falling\n")
    given = ("--size", "96x72", "--triggers", tmp_path / "edges.csv", "--check", "--force")
    assert "500 events are identical" in sweepdepth("convert", tmp_path / "a.csv", tmp_path / "a.h5", *given)[1]


def test_brackets_in_messages_are_printed_as_they_are(capsys):
    print_tables({"a.csv": {"sweeps": "give lens.toml [breathing] with a scale", "[0]": 1}})
    out = capsys.readouterr().out
    assert "lens.toml [breathing] with" in out
    assert "[0]" in out


def test_options_for_depth_files_are_not_ignored_for_recordings(tmp_path):
    for options in (["--frame", "3"], ["--all"], ["--millimetres"]):
        said = sweepdepth("convert", recording_path(), tmp_path / "a.raw", "--lossy", *options, expect=1)[1]
        assert "--frame, --all and --millimetres are for depth files" in said
    assert (
        "--fps is for films" in sweepdepth("convert", recording_path(), tmp_path / "a.h5", "--fps", "30", expect=1)[1]
    )
    said = sweepdepth(
        "replay",
        recording_path(),
        "--out",
        "d.h5",
        "--estimator",
        "polarity",
        "--weights",
        "default",
        cwd=tmp_path,
        expect=1,
    )[1]
    assert "--weights: the classical estimator has none" in said
    assert list(tmp_path.iterdir()) == []


def test_info_draws_a_recording_and_refuses_other_pictures(tmp_path, demo_lens, depth_file):
    _, said = sweepdepth("info", recording_path(), "--picture", "recording.png", cwd=tmp_path)
    assert "written recording.png" in said
    assert (tmp_path / "recording.png").read_bytes().startswith(b"\x89PNG")
    for path in (demo_lens, depth_file):
        _, error = sweepdepth("info", path, "--picture", "none.png", cwd=tmp_path, expect=1)
        assert f"{path}: has no picture; --picture draws a recording or a dataset" in error
    assert not (tmp_path / "none.png").exists()


@pytest.fixture(scope="module")
def with_loopback(tmp_path_factory):
    """The bundled recording with a loopback of 1 kHz on channel 6, which begins first, and the lens's edges apart."""
    folder = tmp_path_factory.mktemp("loopback")
    with open_recording(recording_path()) as recording:
        events, mine = recording.read()
        calibration, size = recording.calibration, (recording.width, recording.height)
    times = np.arange(mine["timestamp"][0], events["timestamp"][-1], 500)
    loopback = make_triggers(times, np.where(np.arange(len(times)) % 2 == 0, 1, 2), 6)
    both = join([loopback, mine], TRIGGER_DTYPE)
    both = both[np.argsort(both["timestamp"], kind="stable")]
    write_recording(folder / "both.h5", [Batch(events, both, 0)], *size, calibration)
    write_recording(folder / "loopback.h5", [Batch(events, loopback, 0)], *size, calibration)
    rows = zip(mine["timestamp"].tolist(), mine["edge"].tolist(), strict=True)
    (folder / "edges.csv").write_text("t_us,edge\n" + "".join(f"{t},{edge}\n" for t, edge in rows))
    return folder


def test_the_lens_channel_is_found_beside_a_loopback_and_reported(tmp_path, depth_file, with_loopback):
    out, _ = sweepdepth("replay", with_loopback / "both.h5", "--out", tmp_path / "depth.h5", "--json")
    (note,) = [warning for warning in json.loads(out)["warnings"] if "channel" in warning]
    assert "channel 0 has the lens's rhythm of 2.5 Hz and is used" in note
    found, expected = read_depth_file(tmp_path / "depth.h5"), read_depth_file(depth_file)
    np.testing.assert_array_equal(found.t_start_us, expected.t_start_us)
    np.testing.assert_array_equal(found.depth, expected.depth)


def test_the_channel_can_be_chosen_and_info_lists_them(with_loopback):
    facts = json.loads(sweepdepth("info", with_loopback / "both.h5", "--json")[0])
    channels = facts["recording"]["trigger_channels"]
    assert list(channels) == ["0", "6"]
    assert channels["0"] == {"rising": 3, "falling": 2, "edges_per_s": pytest.approx(5, rel=1e-3)}
    assert channels["6"]["edges_per_s"] == pytest.approx(2000, rel=1e-3)
    assert facts["sweeps"]["found"] == 4
    text, _ = sweepdepth("info", with_loopback / "both.h5")
    assert "0: 3 rising, 2 falling, 5 edges a second" in text
    assert "channel 0 has the lens's rhythm" in facts["sweeps"]["notes"][0]
    chosen = json.loads(sweepdepth("info", with_loopback / "both.h5", "--json", "--trigger-channel", "6")[0])
    assert chosen["sweeps"]["found"] == 0
    assert "the trigger edges have no rhythm" in chosen["sweeps"]["trouble"]
    assert ", 2000 a second)" in chosen["sweeps"]["trouble"]
    _, err = sweepdepth("replay", with_loopback / "both.h5", "--out", "x.h5", "--trigger-channel", "3", expect=1)
    assert "no trigger came on the chosen channel 3, only on channel 0 (5 edges, 5 a second) and" in err


def test_triggers_in_a_separate_file(tmp_path, depth_file, with_loopback):
    edges = "--triggers", with_loopback / "edges.csv"
    sweepdepth("replay", with_loopback / "loopback.h5", "--out", tmp_path / "depth.h5", *edges)
    np.testing.assert_array_equal(read_depth_file(tmp_path / "depth.h5").depth, read_depth_file(depth_file).depth)
    facts = json.loads(sweepdepth("info", with_loopback / "loopback.h5", "--json", *edges)[0])
    assert facts["recording"]["trigger_channels"].keys() == {"0"}
    sweepdepth("convert", with_loopback / "loopback.h5", tmp_path / "whole.aedat4", *edges)
    with open_recording(tmp_path / "whole.aedat4") as recording:
        assert recording.read()[1]["channel"].tolist() == [0] * 5
    _, err = sweepdepth("convert", depth_file, tmp_path / "depth.npy", *edges, expect=1)
    assert "--triggers, --check, --columns, --time-unit and --size are for recordings" in err


def test_a_whole_recording_is_replayed_without_a_warning(tmp_path):
    out, _ = sweepdepth("replay", recording_path(), "--out", tmp_path / "depth.h5", "--json")
    assert json.loads(out)["warnings"] == []


def test_weights_are_listed_by_name(tmp_path):
    out, _ = sweepdepth("weights", cwd=tmp_path)
    assert out.startswith("default")
    assert "validation RMSE" in out
    assert "default.safetensors" in "".join(out.split())  # a long path is not cut off
    out, _ = sweepdepth("weights", "--json", cwd=tmp_path)
    listed = json.loads(out.splitlines()[0])
    assert listed["facts"]["validation"]["val_rmse"] > 0
    named, _ = sweepdepth("info", "default", "--json", cwd=tmp_path)
    assert named == sweepdepth("info", listed["path"], "--json")[0]


def test_new_keys_are_written_once(tmp_path):
    sweepdepth("keys", "new", "robot", cwd=tmp_path)
    assert (tmp_path / "robot.key_secret").stat().st_mode & 0o077 == 0
    _, error = sweepdepth("keys", "new", "robot", cwd=tmp_path, expect=1)
    assert "robot.key: exists already" in error


@pytest.mark.parametrize(
    "arguments,expected",
    [
        (["replay", "missing.aedat4", "--out", "d.h5"], "missing.aedat4: "),
        (["replay", "picture.png", "--out", "d.h5"], "picture.png: "),
        (["info", "missing.toml"], "missing.toml: cannot be read: No such file"),
        (["convert", "picture.png", "picture.h5"], "picture.png: "),
        (["convert", "picture.png", "depth.npy"], "picture.png: "),
        (["replay", "depth.h5", "--out", "d.h5"], "depth.h5: is a depth file, not a recording; `info`, `convert` and"),
        (["listen", "nowhere"], "nowhere: is not an address"),
        (["listen", "ipc://nobody", "--timeout", "0.3"], "no message for 0.3 s"),
    ],
)
def test_errors_are_one_readable_line_and_exit_1(tmp_path, depth_file, arguments, expected):
    shutil.copy(depth_file, tmp_path / "depth.h5")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    _, error = sweepdepth(*arguments, cwd=tmp_path, expect=1)
    assert expected in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["depth.h5", "picture.png"]
    _, error = sweepdepth(*arguments, "--debug", cwd=tmp_path, expect=1)
    assert "Traceback" in error


def test_an_existing_output_is_kept_unless_forced(tmp_path):
    out = tmp_path / "depth.h5"
    out.write_text("precious")
    _, error = sweepdepth("replay", recording_path(), "--out", out, expect=1)
    assert "--force" in error
    assert out.read_text() == "precious"
    sweepdepth("replay", recording_path(), "--out", out, "--force")
    assert len(read_depth_file(out)) >= 4


def test_a_recording_without_sweeps_is_an_error_and_leaves_no_file(tmp_path, lens):
    """Events without the triggers that the calibration requires."""
    from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, make_events
    from sweepdepth.capture.recordings import write_recording

    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 2_000_000, 50_000))
    events = make_events(t, rng.integers(0, 96, 50_000), rng.integers(0, 72, 50_000), rng.integers(0, 2, 50_000))
    batch = Batch(events, np.empty(0, TRIGGER_DTYPE), 2_000_000)
    write_recording(tmp_path / "still.h5", [batch], 96, 72, Calibration.parse(lens))
    _, error = sweepdepth("replay", tmp_path / "still.h5", "--out", tmp_path / "depth.h5", expect=1)
    assert "trigger" in error
    assert not (tmp_path / "depth.h5").exists()


def test_a_recording_without_a_calibration_asks_for_one(tmp_path, demo_lens):
    sweepdepth("convert", recording_path(), tmp_path / "bare.csv", "--lossy")
    _, error = sweepdepth("replay", tmp_path / "bare.csv", "--out", tmp_path / "depth.h5", expect=1)
    assert "--lens lens.toml" in error
    (tmp_path / "bare.toml").write_text(demo_lens.read_text())
    _, error = sweepdepth("replay", tmp_path / "bare.csv", "--out", tmp_path / "depth.h5", expect=1)
    assert f"give one with --lens {tmp_path / 'bare.toml'}" in error
    assert "events" in sweepdepth("info", tmp_path / "bare.csv", "--lens", demo_lens)[0]


def test_wrong_usage_exits_2_and_every_command_has_help_with_an_example():
    sweepdepth("replay", recording_path(), expect=2)
    sweepdepth("replay", recording_path(), "--out", "x.h5", "--speed", "fast", expect=2)
    sweepdepth("no-such-command", expect=2)
    assert sweepdepth("--version")[0].startswith("sweepdepth 0.")
    for command in (
        ["demo"],
        ["info"],
        ["convert"],
        ["replay"],
        ["listen"],
        ["view"],
        ["train"],
        ["eval"],
        ["keys", "new"],
    ):
        text, _ = sweepdepth(*command, "--help", env=os.environ | {"COLUMNS": "200"})
        assert f"Example: sweepdepth {' '.join(command)}" in text
        assert "--debug" in text


def test_no_command_overwrites_its_input_or_another_kind_of_file(tmp_path, demo_lens, depth_file):
    recording, lens = tmp_path / "sweep.h5", tmp_path / "lens.toml"
    recording.write_bytes(recording_path().read_bytes())
    lens.write_bytes(demo_lens.read_bytes())
    (tmp_path / "link.h5").symlink_to(recording)
    depth = tmp_path / "depth.h5"
    depth.write_bytes(depth_file.read_bytes())
    picture = tmp_path / "photograph.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for arguments, expected in (
        (["replay", recording, "--out", tmp_path / "link.h5", "--force"], "is read by this command"),
        (["replay", recording_path(), "--out", recording, "--force"], "holds a scene of a dataset"),
        (["replay", recording_path(), "--out", tmp_path / "a.npy"], "depth is written as .h5 or .hdf5, not as .npy"),
        (["convert", recording, depth, "--force"], "holds a depth file"),
        (["info", recording, "--picture", recording], "pictures are .png"),
        (["info", recording, "--picture", picture], "exists; give --force to replace it"),
        (["listen", "tcp://127.0.0.1:1", "--lens", lens, "--out", recording, "--force"], "holds a scene of a dataset"),
        (
            ["calibrate", f"{recording}@1", "x.h5@2", "--lens", lens, "--out", lens, "--force"],
            "is read by this command",
        ),
        (["synth", "simulate", tmp_path, "--lens", lens, "--out", depth, "--force"], "needs at least 2"),
    ):
        _, error = sweepdepth(*arguments, cwd=tmp_path, expect=1)
        assert expected in error, arguments
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_warnings_of_a_lens_are_given_when_it_is_loaded(tmp_path, lens, capsys):
    path = tmp_path / "lens.toml"
    path.write_text(lens.replace("near_diopters = 2.5", "near_diopters = 40.0"))
    assert load_lens(path).sweep.near_diopters == 40
    assert capsys.readouterr().err.startswith(f"warning: {path}: sweep.near_diopters (40) is 25 mm")


def test_a_new_calibration_is_written_from_options_or_asked_for(tmp_path):
    options = ["--focal-length", "12", "--f-number", "1.4", "--near", "0.4", "--far", "inf", "--frequency", "2.5"]
    sweepdepth("new-lens", "a.toml", "--sensor", "640x480@9", *options, cwd=tmp_path)
    assert Calibration.load(tmp_path / "a.toml").camera.pixel_pitch_um == 9.0
    sweepdepth("new-lens", "a.toml", "--sensor", "EVK4", *options, "--force", cwd=tmp_path)
    assert Calibration.load(tmp_path / "a.toml").camera.width == 1280
    before = (tmp_path / "a.toml").read_bytes()
    _, error = sweepdepth("new-lens", "a.toml", "--sensor", "imx636", *options, cwd=tmp_path, expect=1)
    assert "a.toml: exists; give --force" in error
    _, error = sweepdepth("new-lens", "b.toml", *options, cwd=tmp_path, expect=2, stdin=subprocess.DEVNULL)
    assert "there is no terminal to prompt on: give --sensor" in " ".join(error.replace("│", " ").split())
    _, error = sweepdepth("new-lens", "b.toml", "--sensor", "nonsense", *options, cwd=tmp_path, expect=2)
    assert "640x480@9" in error
    exchanged = [*options, "--sensor", "imx636", "--near", "2", "--far", "0.4"]
    _, error = sweepdepth("new-lens", "b.toml", *exchanged, cwd=tmp_path, expect=2)
    assert "--near 2 must be less than --far 0.4" in error
    metres = [*options, "--sensor", "imx636", "--focal-length", "0.012"]
    _, error = sweepdepth("new-lens", "b.toml", *metres, cwd=tmp_path, expect=2)
    assert "--focal-length 0.012: expected millimetres" in error
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.toml": before}


def test_the_doctor_finds_no_fault_here():
    out, _ = sweepdepth("doctor", "--json")
    found = {line["what"]: line for line in map(json.loads, out.splitlines())}
    for part in ("python", "recordings", "compiled loops", "depth", "wire", "keys", "cameras", "disk"):
        assert found[part]["verdict"] == "ok", found[part]
    assert "frames" in found["depth"]["message"]
    assert {name for name in found if name.startswith("extra ")} >= {"extra train", "extra view", "extra export"}
