"""A recording at a glance: rates, sweeps, the first stack, and the picture of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import Calibration, EventFocalStack, RecordingError, find_sweeps, open_recording
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, make_events
from sweepdepth.capture.files.survey import Rates, survey
from sweepdepth.capture.files.survey_figure import recording_figure
from sweepdepth.capture.recordings import write_recording
from sweepdepth.capture.reporting.figures import save_figure
from sweepdepth.stream.demo import recording_path

START = 1_763_000_000_000_000


def at(times: list[int], polarity: int = 1) -> np.ndarray:
    """Events of one pixel."""
    times_us = np.array(sorted(times), np.int64)
    zeros = np.zeros(len(times_us), int)
    return make_events(times_us, zeros, zeros, zeros + polarity)


@given(
    times=st.lists(st.integers(0, 20_000_000), min_size=1, max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_rates_of_any_length_hold_every_event_in_its_cell(times, cuts):
    events = at([START + t for t in times])
    rates = Rates(START)
    for part in np.split(events, sorted(cut for cut in cuts if cut <= len(events))):
        rates.add(part)
    assert rates.counts.shape[1] <= 2048
    cells = (events["timestamp"] - START) // rates.cell_us
    np.testing.assert_array_equal(rates.counts[1], np.bincount(cells, minlength=rates.counts.shape[1]))
    assert not rates.counts[0].any()
    assert rates.per_second.sum() * rates.cell_us * 1e-6 == pytest.approx(len(events))


def test_rates_with_a_limit_leave_out_later_events():
    rates = Rates(START, limit_us=START + 5000)
    rates.add(at([START, START + 4999, START + 5000, START + 9_000_000], polarity=0))
    assert rates.counts.sum() == 2
    assert rates.counts[0].tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("most", [100, 101, 150, 9_999, 10_000])
def test_no_number_below_the_picture_of_all_events_is_cut_off(most):
    seen = survey(recording_path())
    activity = np.minimum(seen.activity, 10)
    activity[0, 0] = most
    figure = recording_figure(replace(seen, activity=activity))
    figure.canvas.draw()
    (scale,) = [child for axis in figure.get_axes() for child in axis.child_axes]
    last = scale.get_xticklabels()[-1]
    assert last.get_text() == f"{10 ** int(np.log10(most)):,}"
    assert last.get_window_extent().x1 <= scale.get_window_extent().x1 + 5  # the margin of the figure


def test_a_survey_finds_the_sweeps_and_bins_the_first_of_them():
    path = recording_path()
    seen = survey(path)
    with open_recording(path) as recording:
        events, triggers = recording.read()
        assert recording.calibration is not None
        sweeps = find_sweeps(recording, recording.calibration)
    assert seen.sweeps == tuple(sweeps)
    assert seen.n_events == len(events) == seen.activity.sum()
    assert len(seen.triggers) == len(triggers)
    assert seen.whole is not None
    assert seen.whole.counts.sum() == len(events)
    assert seen.whole.counts[1].sum() == events["polarity"].sum()
    inside = (events["timestamp"] >= sweeps[0].start_us) & (events["timestamp"] < sweeps[0].end_us)
    assert seen.stack is not None
    np.testing.assert_array_equal(seen.stack.data, EventFocalStack.build(events[inside], sweeps[0]).data)
    pixel = np.bincount(events["y"].astype(int) * seen.width + events["x"], minlength=seen.width * seen.height)
    np.testing.assert_array_equal(seen.activity.ravel(), pixel)


def texts(figure) -> str:
    """All text in a figure."""
    from matplotlib.text import Text

    return "\n".join(found.get_text() for found in figure.findobj(Text))


def test_the_picture_names_sweeps_bins_and_units(tmp_path):
    figure = recording_figure(survey(recording_path()))
    words = texts(figure)
    for word in ("4 sweeps", "far→near", "near→far", "events/s", "(s)", "trigger, rising", "focus at 0.40 m"):
        assert word in words
    save_figure(figure, tmp_path / "recording.png")
    assert (tmp_path / "recording.png").stat().st_size > 100_000


def test_every_sweep_is_marked_however_many_there_are():
    from matplotlib.patches import Rectangle

    seen = survey(recording_path())
    length_us = round(seen.sweeps[0].end_us - seen.sweeps[0].start_us)
    assert seen.whole is not None
    first_us = seen.whole.start_us
    many = tuple(
        replace(seen.sweeps[k % 2], start_us=first_us + k * length_us, end_us=first_us + (k + 1) * length_us)
        for k in range(100)
    )
    long = Rates(first_us)
    long.add(at([first_us, first_us + 100 * length_us - 1]))
    figure = recording_figure(replace(seen, sweeps=many, whole=long, beginning=long))
    bands = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    assert len(bands) == 100
    assert sum(band.get_width() for band in bands) == pytest.approx(100 * length_us * 1e-6)


def test_activity_fills_the_page_where_there_is_no_stack():
    seen = survey(recording_path())
    widths = []
    for stack in (seen.stack, None):
        figure = recording_figure(replace(seen, stack=stack))
        figure.canvas.draw()
        (activity,) = [axis for axis in figure.axes if axis.get_title() == "all events"]
        widths.append(activity.get_window_extent().width / figure.bbox.width)
    assert widths[0] < 0.2
    assert widths[1] > 0.3


def test_a_long_recording_is_shown_whole_and_from_its_beginning(tmp_path, lens):
    """Ten minutes with an event every millisecond, and no triggers at all."""
    times = START + np.arange(0, 600_000_000, 1000)
    n = len(times)
    events = make_events(times, np.arange(n) % 96, np.arange(n) % 72, np.arange(n) % 2)
    batch = Batch(events, np.empty(0, TRIGGER_DTYPE), int(times[-1]) + 1)
    write_recording(tmp_path / "long.h5", [batch], 96, 72, Calibration.parse(lens))
    seen = survey(tmp_path / "long.h5")
    assert seen.whole is not None
    assert seen.beginning is not None
    assert seen.whole.counts.shape[1] <= 2048 < 600_000
    assert seen.beginning.counts.shape[1] * seen.beginning.cell_us == pytest.approx(2_000_000, rel=0.01)
    assert np.median(seen.whole.per_second.sum(axis=0)) == pytest.approx(1000, rel=0.01)
    assert seen.stack is None
    assert "trigger" in seen.trouble
    figure = recording_figure(seen)
    assert "no sweeps" in texts(figure)
    assert texts(figure).count("events/s") == 2


def test_the_picture_of_a_recording_without_events_or_calibration_states_that(tmp_path):
    write_recording(tmp_path / "nothing.h5", [Batch(at([]), np.empty(0, TRIGGER_DTYPE), START)], 96, 72, None)
    seen = survey(tmp_path / "nothing.h5")
    assert (seen.n_events, seen.whole, seen.stack) == (0, None, None)
    figure = recording_figure(seen)
    assert "no calibration" in texts(figure)
    save_figure(figure, tmp_path / "nothing.png")
    with pytest.raises(RecordingError, match="cannot be written"):
        save_figure(recording_figure(replace(seen, n_events=1)), tmp_path / "nothing.word")
