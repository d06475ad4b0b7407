"""Playback of a file on the live page, with a time slider, play and step."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import viser

from .moments import Moments
from .page import Page
from .server import PageServer

_LOOK_S = 0.05
_PLAY_BIN_S = 0.5
_BACK, _ON = "◀ Back", "Forward ▶"


@dataclass
class Clock:
    """The current frame during playback: frames follow in recorded time, times `speed`, in a loop.

    Every frame is shown, so slow display delays playback.
    """

    moments: Moments
    number: int = 0
    _since: float | None = None  # host time at which the frame was shown

    def go(self, number: int) -> None:
        """Go to a frame, wrapping around at the ends."""
        self.number = number % len(self.moments)
        self._since = None

    def tick(self, now_s: float, speed: float) -> bool:
        """Advance to the next frame if it is due; returns whether it did."""
        if self._since is None:
            self._since = now_s
        length_s = self._length_s(self.number) / speed
        late_s = now_s - self._since - length_s
        if late_s < 0:
            return False
        self.go(self.number + 1)
        self._since = now_s - min(late_s, length_s)  # compensates for small delays
        return True

    def _length_s(self, number: int) -> float:
        at = self.moments.at_s
        return max(_LOOK_S, at(number) - at(number - 1)) if number else max(_LOOK_S, at(0))


class TimeControls:
    """Slider, play and step; changes are applied by `take`, in the displaying thread."""

    def __init__(self, gui: viser.GuiApi, moments: Moments) -> None:
        self._lock = threading.Lock()
        self._steps = 0
        with gui.add_folder("Time", order=-1):  # at the top
            last = max(2, len(moments))  # a slider needs two values
            self.slider = gui.add_slider("Frame", min=1, max=last, step=1, initial_value=1)
            self.play = gui.add_checkbox("Play frames", initial_value=len(moments) > 1)
            self.speed = gui.add_slider("Speed", min=0.1, max=4, step=0.1, initial_value=1)
            steps = gui.add_button_group("Step", (_BACK, _ON))
        steps.on_click(self._step)

    def _step(self, event: viser.GuiEvent[viser.GuiButtonGroupHandle]) -> None:
        self.step(-1 if event.target.value == _BACK else 1)

    def step(self, frames: int) -> None:
        """Stop playing, and step forward or back."""
        with self._lock:
            self._steps += frames
        self.play.value = False

    def take(self, clock: Clock, now_s: float) -> None:
        """Apply the controls to the clock, and update the slider."""
        with self._lock:
            steps, self._steps = self._steps, 0
        if steps:
            clock.go(clock.number + steps)
        elif self.slider.value - 1 != clock.number:  # moved by the user
            clock.go(self.slider.value - 1)
        elif self.play.value:
            clock.tick(now_s, self.speed.value)
        if self.slider.value - 1 != clock.number:
            self.slider.value = clock.number + 1


def view_file(
    moments: Moments,
    name: str,
    stop: threading.Event,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    on_url: Callable[[str], None] = lambda url: None,
) -> None:
    """Show the frames of a file on a web page until `stop` is set.

    Raises:
        SweepdepthError: other machines could reach `host`, or viser is missing.
    """
    with ExitStack() as resources:
        server = PageServer(host, port, "sweepdepth")
        resources.callback(server.stop)
        page = Page(server, live=False, events=moments.stack(0) is not None)
        controls, clock = TimeControls(server.gui, moments), Clock(moments)
        on_url(server.url)
        shown = stack_shown = None
        frame, stack, stepped = moments.depth(0), moments.stack(0), -1e9
        while not stop.wait(_LOOK_S):
            now = time.monotonic()
            controls.take(clock, now)
            if not server.get_clients():
                continue
            settings = page.controls.read()
            if (clock.number, settings) != shown:
                if shown is None or shown[0] != clock.number:
                    frame, stack = moments.depth(clock.number), moments.stack(clock.number)
                    page.show_file(
                        frame, f"{name}: frame {clock.number + 1} of {len(moments)}", moments.at_s(clock.number)
                    )
                page.show_depth(frame, settings)
                shown = clock.number, settings
            bin_ = settings.bin
            if settings.play_bins and stack is not None and now - stepped >= _PLAY_BIN_S:
                stepped, bin_ = now, (bin_ + 1) % stack.stack.shape[-3]
            if stack is not None and (stack, bin_) != stack_shown:
                page.show_stack(stack, bin_, playing=settings.play_bins)
                stack_shown = stack, bin_
