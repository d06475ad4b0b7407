"""The generation job: real clusters, real processes, and real kills."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from sweepdepth.capture.dataset import DiskFullError, open_dataset, read_scene
from sweepdepth.capture.errors import RecordingError, SweepdepthError
from sweepdepth.capture.pictures import save_figure
from sweepdepth.capture.recordings import open_recording
from sweepdepth.synth import blender, generation, job
from sweepdepth.synth.config import ConfigError, GenerationConfig
from sweepdepth.synth.contact_sheet import contact_sheet
from sweepdepth.synth.job import generate
from sweepdepth.synth.sensor import Sensor

from .scene_makers import TINY, make, notes, run

HERE = Path(__file__).parent


RUN_VARIABLE = "SWEEPDEPTH_TEST_RUN"
RUN = uuid.uuid4().hex
"""Inherited by all processes of these tests, to tell them from those of other runs on the same machine."""


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


def scene_processes():
    """The processes that make scenes, of this run of the tests or left over from it."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        ours = environment.get(RUN_VARIABLE) == RUN
        if ours and "sweepdepth.synth.worker_process" in command and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


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


def test_blender_makes_a_dataset_and_a_contact_sheet_shows_it(tmp_path):
    if not blender.is_installed():
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


def test_ill_scenes_are_tried_twice_then_skipped_and_listed(tmp_path):
    report = run(tmp_path, 6, maker="make_unless_ill", time_limit_s=6.0)
    assert report.made == 3
    assert scene_files(tmp_path) == ["scene_000000.h5", "scene_000001.h5", "scene_000005.h5"]
    reasons = {scene.index: scene.reason for scene in report.skipped}
    assert reasons == {
        2: "its process was ended by SIGABRT",
        3: "took longer than 6 s",
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


def test_killed_scene_processes_and_killed_workers_cost_no_scene(tmp_path):
    """One process that makes a scene is killed, then a dask worker with the process it owns."""
    script = f"""
import sys
from scene_makers import run
if __name__ == "__main__":
    report = run({str(tmp_path / "data")!r}, 6, maker="make_slowly")
    print(report.made, len(report.skipped))
"""
    (tmp_path / "script.py").write_text(script)
    with subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, text=True) as owner:
        wait_for(lambda: any("begun" in line for line in notes(tmp_path / "data")))
        first = int(next(line for line in notes(tmp_path / "data") if "begun" in line).split()[-1])
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(scene_processes()) == 2)
        worker = scene_processes()[0].parent()
        assert worker is not None
        orphan = worker.children()[0].pid
        worker.kill()
        wait_for(lambda: not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE)
        out, _ = owner.communicate(timeout=120)
    assert out.split() == ["6", "0"]
    assert scene_files(tmp_path / "data") == [f"scene_00000{i}.h5" for i in range(6)]
    assert scene_processes() == []


def test_a_job_that_is_killed_outright_takes_its_processes_along_and_is_continued(tmp_path):
    script = f"""
from scene_makers import run
if __name__ == "__main__":
    run({str(tmp_path / "data")!r}, 50, maker="make_two_and_hang")
"""
    (tmp_path / "script.py").write_text(script)
    owner = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], start_new_session=True)
    wait_for(lambda: len(scene_files(tmp_path / "data")) == 2)
    wait_for(lambda: sum("begun" in line for line in notes(tmp_path / "data")) == 4)
    family = psutil.Process(owner.pid).children(recursive=True)
    assert len(scene_processes()) == 2
    owner.kill()
    owner.wait()
    wait_for(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), timeout_s=30)
    for name in scene_files(tmp_path / "data"):
        assert len(read_scene(tmp_path / "data" / name).events) > 0
    report = run(tmp_path / "data", 3, workers=1)
    assert (report.present, report.made) == (2, 1)


def test_the_scene_itself_is_written_after_its_variants(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(generation, "write_scene", lambda path, scene: written.append(path.name))
    config = TINY.model_copy(update={"variants": 3})
    make({"folder": str(tmp_path / "data"), "seed": 0, "config": config.model_dump(), "threads": 1}, 4)
    assert written == ["scene_000004_v2.h5", "scene_000004_v1.h5", "scene_000004.h5"]


def test_a_full_disk_says_so_and_stops_the_job(tmp_path):
    with pytest.raises(DiskFullError, match="the disk is full; make room and run the same line again"):
        run(tmp_path, 30, maker="make_until_full")
    made = scene_files(tmp_path)
    assert set(made) <= {"scene_000000.h5", "scene_000001.h5"}
    assert not list(tmp_path.glob(".scene*"))
    assert run(tmp_path, 2, workers=1).present == len(made)


def test_a_full_tmpfs_stops_the_job(tmp_path):
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(tmp_path)], capture_output=True
        ).returncode
    ):
        pytest.skip("a small file system can only be mounted by root")
    try:
        with pytest.raises(DiskFullError, match="the disk is full"):
            run(tmp_path / "data", 200)
        for name in scene_files(tmp_path / "data"):
            assert len(read_scene(tmp_path / "data" / name).events) > 0
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_running_scheduler_serves_as_well(tmp_path):
    from distributed import LocalCluster

    cluster: Any
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", memory_limit=0) as cluster:
        report = run(tmp_path, 3, workers=None, scheduler=cluster.scheduler_address)
        assert report.made == 3
        assert scene_processes() == []  # the workers live on, the processes do not


def test_what_cannot_work_says_why_at_once(tmp_path, monkeypatch):
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
