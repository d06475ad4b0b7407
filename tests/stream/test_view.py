"""The live page in a real browser."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from sweepdepth.capture.errors import SweepdepthError
from sweepdepth.capture.recordings import open_recording
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.loop import rounds
from sweepdepth.stream.view.feed import Feed, StreamState, describe
from sweepdepth.stream.view.plots import SPAN_S, History
from sweepdepth.stream.view.server import PageServer, is_same_origin
from sweepdepth.stream.wire.messages import DepthFrame, Percentiles, StackFrame, StatusFrame
from sweepdepth.stream.wire.publisher import Publisher

COMMAND = Path(sys.executable).with_name("sweepdepth")
CHROMIUM = Path("/usr/bin/chromium")
SOFTWARE_GPU = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
WIDTH, HEIGHT, BINS = 64, 48, 6
PATIENCE_MS = 180_000

FrameMaker = Callable[..., DepthFrame]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists() or importlib.util.find_spec("playwright") is None:
        pytest.skip("Chromium or Playwright is missing: apt-get install chromium, pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=[*SOFTWARE_GPU, *(["--no-sandbox"] if os.getuid() == 0 else [])],
            timeout=PATIENCE_MS,
        )
        yield chromium
        chromium.close()


@contextmanager
def running(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A command that serves the page, and the page's address."""
    with subprocess.Popen([str(COMMAND), *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as app:
        try:
            assert app.stderr is not None
            line = app.stderr.readline()
            assert "the live page is at http://127.0.0.1:" in line, line + app.stderr.read()
            yield app, line.split()[5]
        finally:
            app.kill()


@contextmanager
def opened(browser: Any, url: str) -> Iterator[Any]:
    """The page in a browser tab; errors in its console fail the test."""
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda r: requests.append(r.url) if r.url.startswith("http") and url not in r.url else None)
    page.goto(url)
    try:
        yield page
    finally:
        page.close()
    assert errors == []
    assert requests == []


class Sender(threading.Thread):
    """Publishes different frames with a stack and a status each, until stopped."""

    def __init__(self, make_frame: FrameMaker, address: str = "tcp://127.0.0.1:*", rate: float = 10.0) -> None:
        super().__init__(name="sender")
        self.publisher = Publisher(address)
        self.address = self.publisher.address
        self.sent: list[DepthFrame] = []
        self._make, self._rate = make_frame, rate
        self._halt = threading.Event()

    def run(self) -> None:
        with self.publisher as publisher:
            while not self._halt.wait(1 / self._rate):
                frame = self._make(len(self.sent), WIDTH, HEIGHT)
                stack = np.random.default_rng(1).integers(-3, 4, (BINS, HEIGHT, WIDTH)).astype(np.float32)
                self.sent.append(frame)
                publisher.publish(frame)
                publisher.publish(StackFrame(stack, frame.info, frame.t_start_us, frame.t_end_us, frame.direction))
                latency = {stage: Percentiles(p50=5.0, p99=9.0) for stage in ("bin", "queue", "estimate")}
                publisher.publish(StatusFrame(2e6, self._rate, latency, warnings=("<b>dusty lens</b>",)))

    def stop(self) -> None:
        self._halt.set()
        self.join()

    def __enter__(self) -> "Sender":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_for(page: Any, text: str) -> None:
    page.wait_for_function("text => document.body.innerText.includes(text)", arg=text)


def control(page: Any, label: str) -> Any:
    """The element with a label."""
    name = page.locator("label", has_text=re.compile(f"^{re.escape(label)}$")).get_attribute("for")
    return page.locator(f'[id="{name}"]')


def pictures_of(page: Any) -> list[str]:
    return page.eval_on_selector_all("img[src^=blob]", "images => images.map(image => image.src)")


def settled_pictures_of(page: Any) -> list[str]:
    """The pictures, once they have not changed for as long as the page takes for several."""
    before: list[str] = []
    deadline = time.monotonic() + 60
    while (now := pictures_of(page)) != before:
        assert time.monotonic() < deadline
        before = now
        page.wait_for_timeout(400)
    return now


def colour_in_picture(page: Any, which: int, x: float, y: float) -> tuple[int, ...]:
    """The colour that the browser shows at a place of a picture, as parts of its width and height."""
    return tuple(
        page.evaluate(
            """([which, x, y]) => {
                const image = document.querySelectorAll("img[src^=blob]")[which];
                const canvas = Object.assign(document.createElement("canvas"),
                    {width: image.naturalWidth, height: image.naturalHeight});
                const context = canvas.getContext("2d");
                context.drawImage(image, 0, 0);
                return [...context.getImageData(x * canvas.width, y * canvas.height, 1, 1).data.slice(0, 3)];
            }""",
            [which, x, y],
        )
    )


def save(page: Any, kind: str) -> tuple[str, bytes]:
    """Name and content of a snapshot, as the browser saves it."""
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_the_page_shows_a_stream_and_survives_a_restart_of_the_publisher(browser, make_frame):
    with Sender(make_frame, rate=30) as sender, running("view", sender.address, "--port", "18080") as (app, url):
        with opened(browser, url) as page:
            wait_for(page, f"Live from {sender.address}.")
            wait_for(page, f"{WIDTH}×{HEIGHT} pixels, 0.40 m to 2.00 m, polarity")
            wait_for(page, f"of {BINS}: events as the focus passed")
            wait_for(page, "<b>dusty lens</b>")  # shown as text, not interpreted
            wait_for(page, "depth (m), spaced evenly in 1/m")
            wait_for(page, "2.00")

            page.evaluate(
                """() => {
                    window.changes = 0;
                    new MutationObserver(() => window.changes++).observe(
                        document.querySelector("img[src^=blob]"), {attributes: true, attributeFilter: ["src"]});
                }"""
            )
            before = page.inner_text("body")
            page.wait_for_timeout(3000)
            assert 3 <= page.evaluate("window.changes") <= 33  # frames move, and at most 10 a second
            assert page.inner_text("body") != before

            sender.stop()
            wait_for(page, "has ended; waiting for the publisher to start again.")
            with Sender(make_frame, sender.address) as again:
                wait_for(page, f"Live from {again.address}. The publisher restarted at ")
                wait_for(page, "this is its stream 2.")
        app.send_signal(signal.SIGINT)
        out, err = app.communicate(timeout=20)
        assert (app.returncode, out, err) == (130, "", "")


def test_controls_act_and_snapshots_hold_the_right_numbers(browser, make_frame):
    with (
        Sender(make_frame) as sender,
        running("view", sender.address, "--port", "18080") as (_, url),
        opened(browser, url) as page,
    ):
        wait_for(page, "Live from")
        control(page, "Play").uncheck()
        control(page, "Pause").check()
        wait_for(page, "Paused. Live from")
        held = settled_pictures_of(page)
        n_sent = len(sender.sent)
        wait_until(lambda: len(sender.sent) >= n_sent + 10)  # frames that the page could show
        assert pictures_of(page) == held

        name, content = save(page, "NPY")
        frame = sender.sent[int(name.split("_")[2].removesuffix(".npy"))]
        assert name.startswith(f"depth_{str(sender.publisher.stream)[:8]}_")
        saved = np.load(BytesIO(content))
        np.testing.assert_array_equal(saved.view("u4"), frame.depth.view("u4"))
        check_ply(save(page, "PLY")[1], frame)
        picture = matplotlib.image.imread(BytesIO(save(page, "PNG")[1]))
        np.testing.assert_array_equal(picture[..., 3] > 0, np.isfinite(frame.depth))
        expected = matplotlib.colormaps["viridis"]((1 / frame.depth - 0.5) / 2)
        np.testing.assert_allclose(picture[np.isfinite(frame.depth)], expected[np.isfinite(frame.depth)], atol=0.01)

        # The page shows the same colours; its pixels are larger than JPEG blocks.
        control(page, "Colour map").click()
        page.get_by_role("option", name="gray", exact=True).click()
        page.wait_for_function("held => document.querySelector('img[src^=blob]').src != held", arg=held[0])
        page.wait_for_function("document.querySelector('img[src^=blob]').decode().then(() => true)")
        y, x = np.argwhere(np.isfinite(frame.depth))[100]
        shown = colour_in_picture(page, 0, (x + 0.5) / WIDTH, (y + 0.5) / HEIGHT)
        assert shown == pytest.approx([255 * (1 / frame.depth[y, x] - 0.5) / 2] * 3, abs=45)

        slider = control(page, "Deviation ≤ (%)").get_by_role("slider")
        slider.press("Home")
        for _ in range(2):
            slider.press("ArrowRight")
        hidden = frame.std > np.float32(0.03 * 2.0)
        assert 0.1 < hidden.mean() < 0.9
        sure = np.where(hidden, np.nan, frame.depth)
        wait_until(lambda: np.array_equal(np.load(BytesIO(save(page, "NPY")[1])), sure, equal_nan=True))

        control(page, "Sweep range").uncheck()
        control(page, "Nearest (m)").fill("1")
        control(page, "Nearest (m)").press("Enter")
        wait_for(page, "1.11")  # the middle tick of a scale from 2 m to 1 m would be 1.33: the ticks are even in 1/m
        control(page, "Bin").get_by_role("slider").press("End")
        wait_for(page, f"Bin {BINS} of {BINS}: events as the focus passed 0.40 m")


def check_ply(content: bytes, frame: DepthFrame) -> None:
    """The points of a PLY file project to their pixels by the camera of the header."""
    header, _, body = content.partition(b"end_header\n")
    known = np.isfinite(frame.depth)
    assert f"element vertex {known.sum()}".encode() in header
    vertices = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    camera = frame.info.camera
    y, x = np.nonzero(known)
    z = frame.depth[known]
    expected = np.stack([(x + 0.5 - camera.cx) * z / camera.fx, (y + 0.5 - camera.cy) * z / camera.fy, z], axis=1)
    np.testing.assert_allclose(vertices["xyz"], expected, rtol=1e-6)


def test_the_demo_plays_endlessly_on_the_page(browser):
    with running("demo", "--view", "--port", "18080") as (app, url), opened(browser, url) as page:
        wait_for(page, "Live from")
        # Four sweeps make a round.
        page.wait_for_function("() => +(document.body.innerText.match(/frame (\\d+):/) ?? [0, 0])[1] > 9")
        assert "restarted" not in page.inner_text("body")
        assert "ended" not in page.inner_text("body")
        app.send_signal(signal.SIGINT)
        assert app.wait(timeout=20) == 130


@pytest.mark.parametrize("kind", ["recording", "depth"])
def test_a_file_is_played_stepped_and_scrubbed(browser, tmp_path, kind):
    path = recording_path()
    if kind == "depth":
        path = tmp_path / "depth.h5"
        make = [str(COMMAND), "replay", str(recording_path()), "--estimator", "polarity", "--out", str(path)]
        subprocess.run(make, check=True, capture_output=True, timeout=200)
    estimator = ("--estimator", "polarity") if kind == "recording" else ()
    with running("view", str(path), *estimator, "--port", "18080") as (_, url), opened(browser, url) as page:
        for number in (3, 2):  # it plays, in a round
            wait_for(page, f"{path.name}: frame {number} of 4")
        control(page, "Play frames").uncheck()
        frame = control(page, "Frame").locator("xpath=following::input[1]")
        frame.fill("4")
        wait_for(page, "frame 4 of 4")
        last = pictures_of(page)
        page.get_by_role("button", name="Forward ▶").click()
        wait_for(page, "frame 1 of 4")
        page.get_by_role("button", name="◀ Back").click()
        page.get_by_role("button", name="◀ Back").click()
        wait_for(page, "frame 3 of 4")
        assert frame.input_value() == "3"
        assert pictures_of(page)[0] != last[0]
        page.wait_for_timeout(1500)
        assert "frame 3 of 4" in page.inner_text("body"), "it plays though it was stopped"
        if kind == "depth":  # the deviation comes first
            page.get_by_text("Event focal stack", exact=True).first.click()
            wait_for(page, "A depth file holds no events")
        said = page.inner_text("body")
        assert ("A depth file holds no events" in said) == (kind == "depth")
        assert (" of 10: events as the focus passed" in said) == (kind == "recording")
        for of_streams in ("Rates, latency, drops", "Max pictures/s", "Receive"):
            assert of_streams not in said


def test_the_page_reports_a_missing_stream(browser, tmp_path):
    with running("view", f"ipc://{tmp_path}/nobody", "--port", "18080") as (_, url), opened(browser, url) as page:
        wait_for(page, f"Nothing has come from ipc://{tmp_path}/nobody for ")
        wait_for(page, "s; waiting for a publisher there.")
        page.get_by_role("button", name="NPY", exact=True).click()
        wait_for(page, "Nothing to save yet")


def test_a_killed_publisher_is_reported(make_frame, tmp_path):
    address = f"ipc://{tmp_path}/depth"
    code = f"""
import time
from sweepdepth.stream.wire.messages import StatusFrame
from sweepdepth.stream.wire.publisher import Publisher
with Publisher({address!r}) as publisher:
    while True:
        publisher.publish(StatusFrame())
        time.sleep(0.1)
"""
    with Feed(address, ("depth", "status")) as feed:
        for stream in (1, 2):
            with subprocess.Popen([sys.executable, "-c", code]) as publisher:
                wait_until(lambda stream=stream: feed.state().live and feed.state().streams == stream)
                publisher.kill()
        assert "this is its stream 2" in describe(feed.state(), address)
        wait_until(lambda: not feed.state().live)
        assert re.match(
            f"Nothing has come from {address} for 3 s; the pictures are old. Waiting for the publisher. The publisher "
            r"restarted at \d\d:\d\d:\d\d; this is its stream 2.$",
            describe(feed.state(), address),
        )


def wait_until(condition: Callable[[], bool], patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_publisher_without_depth_is_not_live(make_frame):
    """Its camera is lost, or its sweeps are not found: it reports that every second, and the page must show it."""
    gone = "camera: disconnected for 2.0 s (it was unplugged); trying again"
    with Publisher("tcp://127.0.0.1:*") as publisher, Feed(publisher.address, ("depth", "status")) as feed:
        assert publisher.wait_for_subscribers(1, timeout=60)
        publisher.publish(make_frame(0, WIDTH, HEIGHT))
        wait_until(lambda: feed.state().live)
        deadline = time.monotonic() + 60
        while feed.state().live and time.monotonic() < deadline:
            publisher.publish(StatusFrame(0.0, 0.0, warnings=(gone,)))
            time.sleep(0.2)
        state = feed.state()
        assert state.connected
        assert not state.live
        assert f"but its publisher is connected; the picture is old: {gone}" in describe(state, publisher.address)
        publisher.publish(make_frame(1, WIDTH, HEIGHT))
        wait_until(lambda: feed.state().live)


def test_a_feed_keeps_only_the_newest_frame(make_frame):
    with Sender(make_frame, rate=200) as sender, Feed(sender.address, ("depth",)) as feed:
        wait_until(lambda: feed.state().n_depth >= 100)
        sender.stop()
        wait_until(lambda: feed.state().ended)
        state = feed.state()
    assert state.depth is not None
    assert state.depth.seq >= 99  # what came later may have been lost on a busy machine
    np.testing.assert_array_equal(state.depth.depth, sender.sent[state.depth.seq].depth)
    assert state.stack is None
    assert 0 < state.wire_ms < 1000


def test_the_plots_cover_two_minutes_and_bridge_unknown_values(make_frame):
    history = History()
    latency = {"bin": Percentiles(p50=1.5, p99=2.0)}
    for second in range(500):
        status = StatusFrame(3e6, 5.0, latency if second < 490 else {}, drops={"outbox": 2, "slow_subscriber": 3})
        history.add(float(second), StreamState(status=status, n_depth=5 * second, missed=7, streams=1, wire_ms=0.5))
    seconds, *lines = history.columns(("frames/s", "M events/s", "bin", "wire", "lost in transit"))
    assert len(seconds) == SPAN_S + 1
    assert (seconds[0], seconds[-1]) == (-SPAN_S, 0)
    assert [line[-1] for line in lines] == [5.0, 3.0, 1.5, 0.5, 7]
    assert history.columns(["dropped by the publisher"])[1][-1] == 5


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "example.org"])
def test_the_page_is_served_on_this_machine_only(host):
    with pytest.raises(SweepdepthError, match=r"no login; use 127\.0\.0\.1 here.*SSH tunnel: ssh -L"):
        PageServer(host, 8080, "sweepdepth")


def test_other_web_pages_cannot_listen_in():
    """A browser lets any site connect to this machine; only the origin distinguishes it from our page."""
    import viser
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    server = PageServer("127.0.0.1", 18090, "sweepdepth")
    try:
        address = server.url.replace("http", "ws")
        protocols: Any = [f"viser-v{viser.__version__}"]
        with connect(address, subprotocols=protocols, origin=server.url) as friend:  # type: ignore[arg-type]
            assert len(friend.recv(timeout=20)) > 0
        with connect(address, subprotocols=protocols, origin="https://evil.example") as stranger:  # type: ignore
            with pytest.raises(ConnectionClosed):
                stranger.recv(timeout=20)
            assert stranger.close_code == 1008
        assert server.request_share_url() is None
    finally:
        server.stop()


@pytest.mark.parametrize(
    "origin, host, admitted",
    [
        (None, "127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://localhost:9000", "localhost:9000", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://localhost:3000", "localhost:8080", False),
        ("http://evil.example:8080", "127.0.0.1:8080", False),
        ("http://evil.example:8080", "evil.example:8080", False),
        ("null", "127.0.0.1:8080", False),
    ],
)
def test_the_origin_must_be_the_page_itself(origin, host, admitted):
    assert is_same_origin(origin, host) == admitted


def test_a_looped_recording_has_a_continuing_clock():
    with open_recording(recording_path()) as recording:
        events, triggers = recording.read()
        (whole,) = (replace(batch, events=events, triggers=triggers) for batch in islice(recording, 1))
    start, end = triggers["timestamp"][triggers["edge"] == 1][[0, -1]]
    inside = (events["timestamp"] >= start) & (events["timestamp"] < end)
    batches = list(islice(rounds(whole), 3 * 40))
    assert batches[-1].end_us == start + 3 * (end - start)
    assert sum(len(batch.events) for batch in batches) == 3 * inside.sum()
    times = np.concatenate([batch.triggers["timestamp"] for batch in batches])
    np.testing.assert_allclose(np.diff(times), 200_000)
    last = start
    for batch in batches:
        assert np.all(np.diff(batch.events["timestamp"], prepend=last, append=batch.end_us) >= 0)
        last = batch.end_us
