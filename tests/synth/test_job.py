"""The generation job: real clusters, real processes, and real kills."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from sweepdepth.capture.errors import RecordingError, SweepdepthError
from sweepdepth.capture.files.dataset import DiskFullError, Manifest, create_dataset, open_dataset, read_scene
from sweepdepth.capture.recordings import open_recording
from sweepdepth.capture.reporting.figures import save_figure
from sweepdepth.synth.blender import session
from sweepdepth.synth.generation import job, make_scene
from sweepdepth.synth.generation.config import ConfigError, GenerationConfig
from sweepdepth.synth.generation.contact_sheet import contact_sheet
from sweepdepth.synth.generation.job import generate
from sweepdepth.synth.sensor import Sensor

from .scene_makers import TINY, make, notes, release, run

HERE = Path(__file__).parent


RUN_VARIABLE = "SWEEPDEPTH_TEST_RUN"
RUN = uuid.uuid4().hex
"""Environment variable of all processes of these tests, to distinguish them from other runs on the same machine."""


@pytest.fixture(autouse=True)
def _makers_can_be_imported(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv(RUN_VARIABLE, RUN)


def wait_for(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "what was waited for never came"
        time.sleep(0.05)


def alive(process):
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def scene_processes(owner=None):
    """The scene processes below an owner, by default this process."""
    found = []
    for process in psutil.Process(owner).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "sweepdepth.synth.generation.worker_process" in process.cmdline():
                found.append(process)
    return found


@contextmanager
def separate_job(folder, scenes, maker):
    """A job in a separate process; its remaining processes are killed at the end."""
    script = folder / "script.py"
    script.write_text(f"""
import signal
from scene_makers import run
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    report = run({str(folder / "data")!r}, {scenes}, maker={maker!r})
    print(report.made, len(report.skipped))
""")
    owner = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    family = []
    try:
        yield owner
    finally:
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(owner.pid).children(recursive=True)
        for process in [owner, *family]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        owner.communicate()


def scene_files(folder):
    return sorted(path.name for path in Path(folder).glob("scene_*.h5"))


def test_two_workers_make_the_same_bytes_as_one_and_every_file_replays(tmp_path):
    config = TINY.model_copy(update={"variants": 2})
    reports = [run(tmp_path / str(workers), 3, workers=workers, config=config) for workers in (1, 2)]
    for report in reports:
        assert (report.made, report.present, report.skipped) == (3, 0, ())
        assert report.events > 0
        assert report.scenes_per_hour > 0
    names = scene_files(tmp_path / "1")
    assert names == [f"scene_00000{i}{v}.h5" for i in range(3) for v in ("", "_v1")]
    for name in names:
        one, two = (read_scene(tmp_path / workers / name) for workers in ("1", "2"))
        assert np.array_equal(one.events, two.events)
        assert np.array_equal(one.truth.depth, two.truth.depth)
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
        assert one.truth.focal_stack is not None
        assert one.truth.focal_stack.shape == (3, 48, 64)
    with open_recording(tmp_path / "2" / "scene_000001.h5") as recording:
        assert recording.calibration is not None
        events, triggers = recording.read()
    assert len(events) > 100
    assert len(triggers) == 3
    light = [read_scene(tmp_path / "1" / name).truth.attributes["illuminance_lux"] for name in names[:2]]
    assert light[0] != light[1]


@pytest.mark.blender
def test_blender_makes_a_dataset_and_a_contact_sheet_shows_it(tmp_path):
    if not session.is_installed():
        pytest.skip("Blender is not installed")
    rendering = {"min_views": 6, "max_views": 6, "intensity_samples": 1}
    config = GenerationConfig.parse(
        TINY.model_dump(mode="json") | {"rendering": rendering, "intensity": {"frames": 2, "aperture_pair": True}}
    )
    report = generate(tmp_path, 2, 0, config, workers=1)
    assert (report.made, report.skipped) == (2, ())
    assert report.render_s > 0
    dataset = open_dataset(tmp_path)
    for path in dataset.scenes:
        scene = read_scene(path)
        assert len(scene.events) > 100
        assert np.all((scene.truth.depth > 0.1) & (scene.truth.depth < 100))
        assert scene.truth.aperture_pair is not None
        assert json.loads(scene.truth.attributes["scene"])["seed"] == 0
        assert Sensor.model_validate_json(scene.truth.attributes["sensor"]).on_threshold > 0
    figure = contact_sheet(dataset, scenes=2)
    save_figure(figure, tmp_path / "sheet.png")
    assert len(figure.axes) == 10
    assert (tmp_path / "sheet.png").stat().st_size > 10_000


def test_a_dataset_without_scenes_has_no_contact_sheet(tmp_path):
    dataset = create_dataset(tmp_path, Manifest(0, {}))
    with pytest.raises(RecordingError, match="no scenes yet"):
        contact_sheet(dataset)


def test_a_second_run_makes_what_is_missing_and_nothing_else(tmp_path):
    progress = []
    run(tmp_path, 2, on_progress=progress.append, workers=1)
    assert [state.made for state in progress] == [1, 2]
    assert progress[0].left_s == pytest.approx(progress[0].elapsed_s)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in scene_files(tmp_path)}
    (tmp_path / "scene_000000.h5").unlink()
    report = run(tmp_path, 3, workers=1)
    assert (report.made, report.present) == (2, 1)
    assert (tmp_path / "scene_000001.h5").stat().st_mtime_ns == before["scene_000001.h5"]
    assert open_dataset(tmp_path).missing(3) == []
    assert run(tmp_path, 3).made == 0


def test_failing_scenes_are_tried_twice_then_skipped_and_listed(tmp_path):
    report = run(tmp_path, 6, maker="make_unless_ill", time_limit_s=8.0)
    assert report.made == 3
    assert scene_files(tmp_path) == ["scene_000000.h5", "scene_000001.h5", "scene_000005.h5"]
    reasons = {scene.index: scene.reason for scene in report.skipped}
    assert reasons == {
        2: "its process was ended by SIGABRT",
        3: "took longer than 8 s",
        4: "ZeroDivisionError: no light at all",
    }
    assert "the last words of Blender" in report.skipped[0].log
    attempts = [line.split()[0] for line in notes(tmp_path) if "begun" in line]
    assert {index: attempts.count(str(index)) for index in range(6)} == {0: 1, 1: 2, 2: 2, 3: 2, 4: 2, 5: 1}
    assert scene_processes() == []


def test_processes_are_replaced_after_a_number_of_scenes(tmp_path):
    run(tmp_path, 5, workers=1, scenes_per_process=2)
    makers = [line.split()[-1] for line in notes(tmp_path)]
    assert [makers.count(pid) for pid in dict.fromkeys(makers)] == [2, 2, 1]


@pytest.mark.parametrize("configured, expected", [(0, job._cores()), (job._cores() + 1, job._cores() + 1)])
def test_a_scene_has_the_configured_threads_or_its_share_of_the_cores(tmp_path, configured, expected):
    config = GenerationConfig.parse(TINY.model_dump() | {"rendering": {"threads": configured}})
    run(tmp_path, 1, maker="make_and_note_threads", workers=1, config=config)
    assert f"0 with {expected} threads" in notes(tmp_path)


def test_killed_scene_processes_and_killed_workers_cost_no_scene(tmp_path):
    """One process that makes a scene is killed, then a dask worker with the process it owns."""
    data = tmp_path / "data"
    with separate_job(tmp_path, 6, "make_when_released") as owner:
        wait_for(lambda: any("begun" in line for line in notes(data)))
        first = int(next(line for line in notes(data) if "begun" in line).split()[-1])
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(scene_processes(owner.pid)) == 2)
        orphan = scene_processes(owner.pid)[0]
        worker = orphan.parent()
        assert worker is not None
        worker.kill()
        wait_for(lambda: not alive(orphan), timeout_s=20)
        release(data)
        out, _ = owner.communicate(timeout=120)
    assert out.split() == ["6", "0"]
    assert scene_files(data) == [f"scene_00000{i}.h5" for i in range(6)]


def test_processes_end_with_a_killed_job_which_can_be_continued(tmp_path):
    data = tmp_path / "data"
    with separate_job(tmp_path, 50, "make_two_and_hang") as owner:
        wait_for(lambda: len(scene_files(data)) == 2)
        wait_for(lambda: sum("begun" in line for line in notes(data)) == 4)
        family = psutil.Process(owner.pid).children(recursive=True)
        owner.kill()
        owner.wait()
        wait_for(lambda: not any(alive(process) for process in family), timeout_s=30)
    for name in scene_files(data):
        assert len(read_scene(data / name).events) > 0
    report = run(data, 3, workers=1)
    assert (report.present, report.made) == (2, 1)


def test_ctrl_c_ends_a_job_and_all_its_processes(tmp_path):
    with separate_job(tmp_path, 50, "make_two_and_hang") as owner:
        wait_for(lambda: sum("begun" in line for line in notes(tmp_path / "data")) == 4)
        family = psutil.Process(owner.pid).children(recursive=True)
        os.killpg(owner.pid, signal.SIGINT)
        _, complaints = owner.communicate(timeout=60)
        wait_for(lambda: not any(alive(process) for process in family), timeout_s=10)
    assert owner.returncode in (1, 130, -signal.SIGINT)
    assert complaints.count("Traceback") == 1
    assert complaints.rstrip().endswith("KeyboardInterrupt")
    assert scene_files(tmp_path / "data") == ["scene_000000.h5", "scene_000001.h5"]


def test_the_scene_itself_is_written_after_its_variants(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(make_scene, "write_scene", lambda path, scene: written.append(path.name))
    config = TINY.model_copy(update={"variants": 3})
    make({"folder": str(tmp_path / "data"), "seed": 0, "config": config.model_dump(), "threads": 1}, 4)
    assert written == ["scene_000004_v2.h5", "scene_000004_v1.h5", "scene_000004.h5"]


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for a scene or two, and its scene maker, which simulates the full disk if not run as root."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(tmp_path)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0:
        yield tmp_path / "data", "make"
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    else:
        yield tmp_path / "data", "make_until_full"


def test_a_full_disk_stops_the_job_with_an_error(small_disk):
    folder, maker = small_disk
    with pytest.raises(DiskFullError, match="the disk is full; make room and run the same line again"):
        run(folder, 100, maker=maker)
    for path in open_dataset(folder).scenes:
        assert len(read_scene(path).events) > 0
    assert not list(folder.glob(".scene*"))


def test_a_running_scheduler_can_be_used(tmp_path):
    from distributed import LocalCluster

    cluster: Any
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", memory_limit=0) as cluster:
        report = run(tmp_path, 3, workers=None, scheduler=cluster.scheduler_address)
        assert report.made == 3
        assert scene_processes() == []  # the workers live on, the processes do not


def test_impossible_jobs_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "_CONNECT_TIMEOUT_S", 1)
    with pytest.raises(SweepdepthError, match="no dask scheduler answers"):
        run(tmp_path / "a", 1, scheduler="tcp://127.0.0.1:9")
    impossible = TINY.model_copy(update={"lens": TINY.lens.model_copy(update={"blur_px": (500.0, 600.0)})})
    with pytest.raises(ConfigError, match=r"lens\.blur_px \[500\.0, 600\.0\]: no lens"):
        run(tmp_path / "b", 2, config=impossible, workers=1)
    run(tmp_path / "c", 0)
    with pytest.raises(RecordingError, match=r"another seed \(0, now 1\)"):
        run(tmp_path / "c", 1, seed=1)
    with pytest.raises(RecordingError, match=r"another configuration\.sweeps \(2, now 3\)"):
        run(tmp_path / "c", 1, config=TINY.model_copy(update={"sweeps": 3}))
    with pytest.raises(ConfigError, match="must be at least 1"):
        run(tmp_path / "c", 1, workers=0)
    monkeypatch.setattr(job, "_MOST_FAILURES_AT_FIRST", 2)
    with pytest.raises(SweepdepthError, match=r"none of 2 scenes could be made; .* no attribute 'make_nothing'"):
        run(tmp_path / "d", 5, maker="make_nothing", workers=1)
