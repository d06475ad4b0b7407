"""The decoder process may crash, loop, use too much memory or be killed, and leaves nothing behind."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from sweepdepth import RecordingError
from sweepdepth.capture.events import Batch, make_events
from sweepdepth.capture.recordings import Recording, open_recording, write_recording
from sweepdepth.capture.sources.chunks import NO_TRIGGERS
from sweepdepth.capture.sources.process import WorkerFailure, WorkerProcess, longest_wait_s
from sweepdepth.capture.sources.ring import SLOT_EVENTS, SLOTS, consume, ring_bytes

WIDTH, HEIGHT = 96, 72
START_US = 1_763_000_511_821_624
RING_EVENTS = SLOTS * SLOT_EVENTS

MISBEHAVING = """
import os, signal, sys, time
import numpy as np
from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.events import EVENT_DTYPE
from sweepdepth.capture.sources.chunks import Chunk, CutShort, Header, NO_TRIGGERS, Source

def decode(how):
    return Source(Header("test", 96, 72), chunks(how))

def chunks(how):
    events = np.zeros(1000, EVENT_DTYPE)
    events["timestamp"] = np.arange(1000)
    yield Chunk(events, NO_TRIGGERS)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "exit":
        os._exit(3)
    elif how == "spin":
        sys.setswitchinterval(1e9)  # like a library that spins with the interpreter locked
        while True: pass
    elif how == "toil":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        while time.process_time() < 1.5: pass
        yield Chunk(events, NO_TRIGGERS)
    elif how == "sleep":
        time.sleep(60)
    elif how == "swell":
        hoard = [np.empty(1 << 24) for _ in range(17)]  # 2.1 GiB
    elif how == "shout":
        while True: print("no end of words" * 1000, file=sys.stderr)
    elif how == "fail":
        raise RuntimeError("void dv::io::readInto()\\nthe packet is broken\\n stack trace")
    elif how == "explain":
        raise RecordingError("it has no events")
    elif how == "end early":
        raise CutShort("the rest is missing")
"""


@pytest.fixture
def misbehaving(tmp_path, monkeypatch):
    """Starts a worker whose decoder misbehaves after its first thousand events."""
    (tmp_path / "misbehaving.py").write_text(MISBEHAVING)
    monkeypatch.syspath_prepend(tmp_path)
    workers = []

    def start(how: str, stall_timeout_s: float = 20.0) -> WorkerProcess:
        workers.append(WorkerProcess("source", "misbehaving:decode", {"how": how}, stall_timeout_s))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()
    assert children() == []


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "sources.worker" in " ".join(child.cmdline())]


def read_all(worker: WorkerProcess) -> tuple[int, WorkerFailure | None]:
    """Number of events, and the error that ended them."""
    n = 0
    try:
        assert worker.receive()["header"]["format"] == "test"
        for chunk in consume(worker):
            n += len(chunk.events)
    except WorkerFailure as failure:
        return n, failure
    return n, None


@pytest.mark.parametrize(
    "how, kind, text",
    [
        ("crash", "crashed", "was ended by SIGSEGV"),
        ("exit", "crashed", "ended with status 3"),
        ("swell", "error", "it asks for more than 2 GiB of memory, as damaged files do"),
        ("fail", "error", "the packet is broken"),
        ("explain", "error", "it has no events"),
    ],
)
def test_events_before_a_decoder_failure_are_kept(misbehaving, how, kind, text):
    n, failure = read_all(misbehaving(how))
    assert failure is not None
    assert (failure.kind, str(failure)) == (kind, text)
    # A process that exits at once loses what it has not sent yet.
    assert n == (0 if kind == "crashed" else 1000)


def test_a_hanging_decoder_is_ended_in_time(misbehaving):
    start = time.monotonic()
    n, failure = read_all(misbehaving("spin", stall_timeout_s=1.0))
    assert failure is not None
    assert (n, failure.kind, str(failure)) == (0, "spinning", "has computed for 1 s without a result")
    assert time.monotonic() - start < 20


def test_an_idle_decoder_is_ended_in_time(misbehaving):
    _, failure = read_all(misbehaving("sleep", stall_timeout_s=1.0))
    assert failure is not None
    assert (failure.kind, str(failure)) == ("waiting", "has done nothing for 1 s")


@pytest.mark.slow
def test_a_decoder_on_a_busy_processor_gets_more_time(misbehaving):
    """A second of work beside five others takes six."""
    core = min(os.sched_getaffinity(0))
    script = f"import os; os.sched_setaffinity(0, {{{core}}}); print(flush=True)\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(5)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        worker = misbehaving("toil", stall_timeout_s=2.0)
        start = time.monotonic()
        n, failure = read_all(worker)
        assert (n, failure) == (2000, None)
        assert time.monotonic() - start > 2.0
    finally:
        for other in others:
            with other:
                other.kill()


@pytest.mark.parametrize(("limit_s", "wait_s"), [(0.5, 5), (2, 20), (20, 120), (60, 120), (600, 600)])
def test_the_wait_for_a_starved_decoder_is_bounded(limit_s, wait_s):
    assert longest_wait_s(limit_s) == wait_s


def test_endless_error_output_of_a_decoder_fills_no_disk(misbehaving):
    _, failure = read_all(misbehaving("shout"))
    assert failure is not None
    assert "no end of words" in failure.__notes__[0]
    assert len(failure.__notes__[0]) < 5000


def test_truncated_data_is_reported(misbehaving):
    worker = misbehaving("end early")
    worker.receive()
    chunks = consume(worker)
    assert len(next(chunks).events) == 1000
    with pytest.raises(StopIteration) as end:
        next(chunks)
    assert end.value.value == {"events": 0, "triggers": 0, "notes": ["the rest is missing"]}


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory) -> Path:
    """Three times the capacity of the ring."""
    path = tmp_path_factory.mktemp("long") / "long.h5"
    write_long(path, 3 * RING_EVENTS)
    return path


def write_long(path: Path, n: int) -> None:
    step = 1 << 18
    rng = np.random.default_rng(0)
    x, y, p = rng.integers(0, WIDTH, step), rng.integers(0, HEIGHT, step), rng.integers(0, 2, step)
    batches = (
        Batch(make_events(START_US + np.arange(at, at + step), x, y, p), NO_TRIGGERS, 0) for at in range(0, n, step)
    )
    write_recording(path, batches, WIDTH, HEIGHT)


def test_recordings_longer_than_the_ring_are_read_completely(long_recording):
    with open_recording(long_recording) as recording:
        times = np.concatenate([batch.events["timestamp"] for batch in recording])
    np.testing.assert_array_equal(times, START_US + np.arange(3 * RING_EVENTS))


def test_memory_does_not_grow_with_the_recording(tmp_path, long_recording):
    write_long(tmp_path / "short.h5", RING_EVENTS)

    def peak(path: Path) -> int:
        """Peak memory in bytes of a process that reads a recording batch by batch."""
        script = (
            "import resource, sys\n"
            "from sweepdepth import open_recording\n"
            "with open_recording(sys.argv[1]) as recording:\n"
            "    for batch in recording: pass\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
        )
        result = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        return int(result.stdout)

    events_bytes = 16 * 2 * RING_EVENTS  # what the long one has more
    assert peak(long_recording) - peak(tmp_path / "short.h5") < events_bytes / 4


def test_a_slow_reader_does_not_count_as_a_stalled_decoder(long_recording):
    """The decoder waits while the ring is full, which must not count as hanging."""
    with open_recording(long_recording, stall_timeout_s=0.5) as recording:
        n = 0
        for i, batch in enumerate(recording):
            n += len(batch.events)
            if i in (0, 50):
                time.sleep(1.5)
    assert n == 3 * RING_EVENTS


def test_nothing_is_left_of_an_aborted_iteration(long_recording):
    gc.collect()
    files = psutil.Process().num_fds()
    with open_recording(long_recording) as recording:
        for _ in recording:
            break
        batches = iter(recording)
        next(batches)
        assert len(children()) == 1
    assert children() == []
    with pytest.raises(RecordingError, match="was closed while it was being read"):
        next_batches_until_the_end(batches)
    with pytest.raises(RecordingError, match="is closed; open it again"):
        next(iter(recording))
    gc.collect()
    assert psutil.Process().num_fds() == files
    if hasattr(psutil.Process, "memory_maps"):
        assert [part.path for part in psutil.Process().memory_maps() if "memfd:sweepdepth" in part.path] == []


def test_a_closed_recording_cannot_be_read(long_recording):
    recording = open_recording(long_recording)
    recording.close()
    recording.close()
    with pytest.raises(RecordingError, match="is closed; open it again"):
        recording.read()


def next_batches_until_the_end(batches) -> None:
    for _ in batches:
        pass


def test_nothing_is_left_of_a_garbage_collected_recording(long_recording):
    recording = open_recording(long_recording)
    assert len(children()) == 1
    del recording
    gc.collect()
    assert children() == []


@pytest.mark.parametrize(
    "number, text",
    [(signal.SIGKILL, "was ended by SIGKILL, from outside"), (signal.SIGSTOP, r"was stopped for \d+ s")],
)
def test_a_decoder_that_is_killed_or_stopped_from_outside_is_an_error(long_recording, number, text):
    n = 0
    with open_recording(long_recording, stall_timeout_s=1.0) as recording:

        def read_and_meddle():
            nonlocal n
            for batch in recording:
                n += len(batch.events)
                if n == len(batch.events):
                    children()[0].send_signal(number)

        with pytest.raises(
            RecordingError, match=rf"long\.h5: the decoder {text}.* after [\d,]+ events up to \d+ µs"
        ) as info:
            read_and_meddle()
    assert "damaged" not in str(info.value)
    assert 0 < n < 3 * RING_EVENTS


@pytest.mark.parametrize("paused", [True, False], ids=["waiting", "spinning"])
def test_a_decoder_dies_with_its_owner(tmp_path, long_recording, paused):
    """Even one that loops while holding the interpreter's lock, and even if its owner was killed."""
    (tmp_path / "misbehaving.py").write_text(MISBEHAVING)
    opening = (
        "owner = Recording(__import__('pathlib').Path(sys.argv[1]), None, 1.0)\n"
        if paused
        else "owner = WorkerProcess('source', 'misbehaving:decode', {'how': 'spin'}, 1.0)\nowner.receive()\n"
    )
    script = (
        "import sys, time\n"
        "from sweepdepth.capture.recordings import Recording\n"
        "from sweepdepth.capture.sources.process import WorkerProcess\n"
        f"{opening}"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(long_recording)]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    owner = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    with owner, owner.stdout:
        assert owner.stdout.readline() == "ready\n"
        (decoder,) = psutil.Process(owner.pid).children()
        owner.kill()
    gone, _ = psutil.wait_procs([decoder], timeout=200)  # six seconds of its processor time
    assert gone == [decoder]


def test_ctrl_c_reaches_the_owner_alone(long_recording):
    """A terminal signals the whole foreground process group, which the decoder does not belong to."""
    recording: Recording
    with open_recording(long_recording) as recording:
        (decoder,) = children()
        assert os.getpgid(decoder.pid) != os.getpgid(0)
        assert recording.format == "HDF5"


def test_the_ring_is_small():
    assert ring_bytes(SLOTS) < 20 << 20


@pytest.mark.parametrize("stall_timeout_s", [0, -1.0, float("inf"), float("nan")])
def test_a_timeout_must_be_positive(long_recording, stall_timeout_s):
    with pytest.raises(RecordingError, match="must be above 0 and at most a day"):
        open_recording(long_recording, stall_timeout_s=stall_timeout_s)
