"""Layout of the page, and display of frames on it."""

import html
import tempfile
from pathlib import Path

import numpy as np
import viser

from ...capture.files.export import SUFFIXES, export_depth
from ..wire.messages import DepthFrame, StackFrame
from . import colours
from .cloud import Cloud
from .controls import Controls, Settings
from .feed import StreamState, describe
from .plots import History, Plots
from .server import PageServer

_BLANK = np.full((180, 240, 3), colours.UNKNOWN_GREY, np.uint8)
_SIDE_PX, _PICTURE_PX = 380, 360
_QUALITY = 90  # of JPEG, which is eight times faster to encode than PNG and a seventh of its size


class Page:
    """The elements of the page. Used by one thread, except that snapshots may be requested at any time.

    The page of a file (`live` off) has no plots of rates and no controls of streams; without `events`, the tab of the
    deviation comes before that of the stack.
    """

    def __init__(self, server: PageServer, *, live: bool = True, events: bool = True) -> None:
        self._server = server
        self._saved: tuple[DepthFrame, Settings] | None = None
        self._scales: dict[str, str] = {}
        gui = server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(0, 114, 178))
        self._state = gui.add_html("")
        with gui.add_folder("View"):
            self.controls = Controls(gui)
        with gui.add_folder("Snapshot"):
            save = gui.add_button_group("Save depth as", [suffix[1:].upper() for suffix in SUFFIXES])
        save.on_click(self._save)

        pictures = gui.add_panel()
        with pictures.add_tab("Depth"):
            self._depth, self._depth_scale = _picture(gui), gui.add_html("")
        more = gui.add_panel()
        tabs = (self._add_stack, self._add_confidence)
        for add in tabs if events else reversed(tabs):
            add(gui, more)
        if not events:
            self._focus.content = _line("A depth file holds no events; look at its recording to see them.")
        pictures.dock_left()
        more.dock_below(pictures)
        gui.main_panel.dock_right()
        if live:
            timing = gui.add_panel()
            with timing.add_tab("Rates, latency, drops"):
                self._plots = Plots(gui)
            timing.dock_below(gui.main_panel)
        else:
            self.controls.hide_those_of_streams(events)
        for panel in (pictures, gui.main_panel):
            panel.set_width(_SIDE_PX)
        self._cloud = Cloud(server)

    def _add_stack(self, gui: viser.GuiApi, panel: viser.PanelHandle) -> None:
        with panel.add_tab("Event focal stack"):
            self._focus = gui.add_html("")
            self._events, self._event_scale = _picture(gui), gui.add_html("")
            self.controls.add_stack(gui)

    def _add_confidence(self, gui: viser.GuiApi, panel: viser.PanelHandle) -> None:
        with panel.add_tab("Confidence"):
            self._deviation, self._deviation_scale = _picture(gui), gui.add_html("")

    def show_state(self, state: StreamState, settings: Settings, address: str) -> None:
        """Show the state of the stream."""
        facts = [] if state.depth is None else _facts(state.depth)
        if state.status is not None:
            facts += state.status.warnings
        if state.rejected:
            facts.append(f"{state.rejected} messages did not follow the wire format")
        mark = ("▮▮", "#d55e00") if settings.paused else ("●", "#009e73") if state.live else ("○", "#d55e00")
        self._say(mark, ("Paused. " if settings.paused else "") + describe(state, address), facts)

    def show_file(self, frame: DepthFrame, title: str, at_s: float) -> None:
        """Show which frame of a file is displayed."""
        direction = frame.direction.name.lower().replace("_to_", "→")
        self._say(("▤", "#0072b2"), title, [f"{at_s:.2f} s, {direction}", *_facts(frame)])

    def show_depth(self, frame: DepthFrame, settings: Settings) -> None:
        """Show a depth map as a picture and as points, and its deviation."""
        self._saved = frame, settings
        far, near = settings.diopters(frame.info)
        depth = settings.shown(frame)
        picture = colours.depth_picture(depth, far, near, settings.colour_map)
        limit = settings.max_deviation * (frame.info.near_diopters - frame.info.far_diopters)
        limit = min(limit, float(np.nanmax(frame.std, initial=0.0)) or limit)
        limit = float(f"{limit:.1g}")
        self.controls.fit(frame.info)
        with self._server.atomic():
            self._depth.image = _enlarged(picture)
            self._deviation.image = _enlarged(colours.deviation_picture(frame.std, limit))
            self._set("depth", self._depth_scale, colours.depth_scale(far, near, settings.colour_map))
            self._set("deviation", self._deviation_scale, colours.deviation_scale(limit))
            self._cloud.show(frame, depth, picture)

    def show_stack(self, frame: StackFrame, bin_: int, *, playing: bool) -> None:
        """Show one bin of a stack; while playing, the control follows."""
        signed = frame.stack[0] - frame.stack[1] if frame.stack.ndim == 4 else frame.stack
        bins = len(signed)
        bin_ = min(bin_, bins - 1)
        focus = frame.info.far_diopters + bin_ * (frame.info.near_diopters - frame.info.far_diopters) / max(1, bins - 1)
        limit = max(1.0, float(f"{np.quantile(np.abs(signed[bin_]), 0.995):.1g}"))
        at = f"{1 / focus:.2f} m" if focus > 0 else "infinity"
        self.controls.set_bins(bins, bin_ if playing else None)
        with self._server.atomic():
            self._events.image = _enlarged(colours.event_picture(signed[bin_], limit))
            self._set("events", self._event_scale, colours.event_scale(limit))
            self._set(
                "focus",
                self._focus,
                _line(f"Bin {bin_ + 1} of {bins}: events as the focus passed <b>{at}</b>"),
            )

    def show_history(self, history: History) -> None:
        """Update the plots."""
        self._plots.show(history)

    def _say(self, mark: tuple[str, str], title: str, facts: list[str]) -> None:
        self._set(
            "state",
            self._state,
            f'<div style="padding:0.5em 0.75em;font-size:0.875em"><b style="color:{mark[1]}">{mark[0]}</b> '
            f"<b>{html.escape(title)}</b><br>{'<br>'.join(map(html.escape, facts))}</div>",
        )

    def _set(self, name: str, element: viser.GuiHtmlHandle, content: str) -> None:
        """Send an element's content if it has changed."""
        if self._scales.get(name) != content:
            self._scales[name] = element.content = content

    def _save(self, event: viser.GuiEvent[viser.GuiButtonGroupHandle]) -> None:
        """Send the displayed depth map as a file to the requesting browser."""
        if event.client is None:
            return
        if self._saved is None:
            event.client.add_notification("Nothing to save yet", "No depth has arrived.", auto_close_seconds=5)
            return
        name, content = snapshot(*self._saved, f".{event.target.value.lower()}")
        event.client.send_file_download(name, content, save_immediately=True)


def _facts(frame: DepthFrame) -> list[str]:
    """Size, range, estimator, coverage and quality of a frame."""
    info, camera = frame.info, frame.info.camera
    far = f"{1 / info.far_diopters:.2f} m" if info.far_diopters else "infinity"
    known = np.isfinite(frame.depth).mean()
    return [
        f"{camera.width}×{camera.height} pixels, {1 / info.near_diopters:.2f} m to {far}, {info.estimator}",
        f"frame {frame.seq}: {100 * known:.0f} % of the pixels known, quality {frame.quality:.2f}",
    ]


def snapshot(frame: DepthFrame, settings: Settings, suffix: str) -> tuple[str, bytes]:
    """Name and content of a file with a displayed depth map, in its colours, hidden pixels as unknown."""
    far, near = settings.diopters(frame.info)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"depth_{str(frame.stream)[:8]}_{frame.seq:06d}{suffix}")
        export_depth(path, settings.shown(frame), frame.info.camera, far, near, settings.colour_map)
        return path.name, path.read_bytes()


def _line(content: str) -> str:
    return f'<div style="padding:0.25em 0.75em;font-size:0.875em">{content}</div>'


def _enlarged(picture: np.ndarray) -> np.ndarray:  # (H, W, 3)
    """Enlarge a picture by an integer factor, since browsers would blur a small one."""
    times = max(1, -(-_PICTURE_PX // picture.shape[1]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)


def _picture(gui: viser.GuiApi) -> viser.GuiImageHandle:
    return gui.add_image(_enlarged(_BLANK), format="jpeg", jpeg_quality=_QUALITY)
