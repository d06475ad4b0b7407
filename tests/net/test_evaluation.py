"""Evaluation: scores compared with values computed by hand, and the report."""

import html
import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest

from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.events import make_events
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.cases import Case, find_cases, find_sources, load_case
from sweepdepth.net.estimate import Estimate
from sweepdepth.net.estimators import make_estimator
from sweepdepth.net.evaluation.baselines import Constant, CoupledDifferentiation
from sweepdepth.net.evaluation.breakdown import breakdown_of, classify, reliability_of, total_reliability
from sweepdepth.net.evaluation.evaluate import evaluate, light_level
from sweepdepth.net.evaluation.methods import EstimatorMethod, as_method
from sweepdepth.net.evaluation.report import ReportFolder, as_json, example_recordings
from sweepdepth.net.evaluation.tables import reliability_table, tables

from .known_sweeps import make_dataset


@dataclass(frozen=True)
class Off:
    """A method that returns the truth plus a given error in diopters."""

    error: float = 0.0
    std: float = 0.1
    columns: int | None = None  # known columns from the left; None: all
    name: str = "off"

    def __call__(self, case: Case) -> Estimate:
        diopters, std = np.full((2, *case.truth.shape), np.nan, np.float32)
        diopters[:, : self.columns] = (1 / case.truth + self.error)[:, : self.columns]
        std[:, : self.columns] = self.std
        return Estimate(diopters, std, 1.0)


def plane(calibration, diopters: float, name: str = "plane", index: int = 0, lux: float | None = None) -> Case:
    """A surface at one inverse depth, with one event per pixel of the left half."""
    y, x = np.mgrid[:72, :48]
    events = make_events(np.arange(x.size) * 50, x.ravel(), y.ravel(), np.arange(x.size) % 2)
    sweep = Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration)
    return Case(name, index, events, sweep, np.full((72, 96), 1 / diopters, np.float32), illuminance_lux=lux)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, calibration, textured_planes):
    return make_dataset(tmp_path_factory.mktemp("evaluation") / "data", calibration, textured_planes)


def test_errors_are_stated_in_diopters_and_of_the_sweep_range(calibration):
    evaluation = evaluate([plane(calibration, 1.0)], [Off(0.25)])
    summary = evaluation.summary("off")
    assert summary.everywhere.mae == pytest.approx(0.25, rel=1e-4)
    assert summary.everywhere.rmse_range == pytest.approx(0.125, rel=1e-4)
    assert summary.everywhere.abs_rel == pytest.approx(0.2, rel=1e-4)
    assert summary.at_events.n_truth == 72 * 48
    assert summary.everywhere.n_truth == 72 * 96


def test_sparse_estimates_are_filled_for_scores_and_report_their_coverage(calibration):
    summary = evaluate([plane(calibration, 1.0)], [Off(0.2, columns=24)]).summary("off")
    assert summary.answered.coverage == pytest.approx(0.25)
    assert summary.everywhere.coverage == 1
    assert summary.at_events.coverage == 1
    assert summary.everywhere.mae == pytest.approx(0.2, rel=0.01)


def test_a_method_without_any_answer_is_scored_as_the_constant(calibration):
    nothing = evaluate([plane(calibration, 1.0)], [Off(columns=0), Constant()])
    assert nothing.summary("off").everywhere.mae == nothing.summary("constant").everywhere.mae == pytest.approx(0.5)
    assert nothing.summary("off").answered.coverage == 0


def test_the_mean_is_over_sweeps_first_and_recordings_then(calibration):
    """Three sweeps of one recording weigh as much as the single sweep of another."""
    cases = [plane(calibration, 1.0, "a", index) for index in range(3)] + [plane(calibration, 2.0, "b")]
    summary = evaluate(cases, [Constant(position=0.25)]).summary("constant")
    assert (summary.recordings, summary.sweeps) == (2, 4)
    assert summary.everywhere.mae == pytest.approx((0.0 + 1.0) / 2)


def test_light_levels_are_scored_separately(calibration):
    assert [light_level(lux) for lux in (50, 150, 151, 600, 601, None)] == [
        *("dim", "dim", "indoor", "indoor", "bright"),
        "unknown",
    ]
    cases = [plane(calibration, 1.0, "night", lux=50), plane(calibration, 2.0, "day", lux=1000)]
    evaluation = evaluate(cases, [Constant(position=0.25)])
    assert evaluation.lights == ("dim", "bright")
    assert evaluation.summary("constant", "dim").everywhere.mae == pytest.approx(0)
    assert evaluation.summary("constant", "bright").everywhere.mae == pytest.approx(1)
    assert evaluation.scores_of("constant", "indoor") == []


def test_surfaces_outside_the_range_are_scored_separately_against_its_end(calibration):
    summary = evaluate([plane(calibration, 0.3)], [Constant()]).summary("constant")
    assert summary.everywhere.n_truth == 0
    assert summary.everywhere.n_outside == 72 * 96
    assert summary.everywhere.outside_mae_range == pytest.approx(0.5)
    assert summary.everywhere.outside_std_range == pytest.approx(12**-0.5)


def test_an_inapplicable_method_is_left_out_with_a_reason(calibration):
    cases = [plane(calibration, 1.0), plane(calibration, 1.0, index=1)]
    evaluation = evaluate(cases, [CoupledDifferentiation(), Off()])
    count, reason = evaluation.not_applicable["coupled"]
    assert count == 2
    assert "aperture_pair" in reason
    assert evaluation.scores_of("coupled") == []
    overview, everywhere, *_, left_out = tables(evaluation)
    assert left_out.title == "Skipped"
    for table in (overview, everywhere):
        assert [row[0] for row in table.rows] == ["off", "coupled"]
        assert set(table.rows[1][1:]) == {"–"}


def test_method_names_must_be_unique(calibration):
    with pytest.raises(ValueError, match="off, off"):
        evaluate([], [Off(), Off(0.1)])


def test_pixels_belong_to_one_class_each(calibration):
    diopters = np.ones((40, 60))
    diopters[:, 30:] = 1.2  # a step of a tenth of a range of 2
    has_event = np.zeros((40, 60), bool)
    has_event[20, 10] = True
    classes = classify(diopters, has_event, 2.0)
    assert set(classes[20, 26:34]) == {0}  # three pixels on, and one beside, either side of the step
    assert classes[20, 25] != 0
    assert classes[20, 15] == 2
    assert classes[20, 16] == classes[30, 10] == 1
    assert (classify(diopters, has_event, 20.0) != 0).all()  # the same step is small in a larger range


def test_the_squared_error_is_split_by_class():
    classes = np.array([[0, 0, 1, 1, 2, 2]], np.uint8)
    error = np.array([[0.1, -0.1, 0.3, np.nan, 0.0, 0.0]])
    breakdown = breakdown_of(error, classes)
    assert breakdown.pixels == pytest.approx((0.4, 0.2, 0.4))
    assert breakdown.mae_range == pytest.approx((0.1, 0.3, 0.0))
    assert breakdown.squared == pytest.approx((2 / 11, 9 / 11, 0))


def test_normal_errors_of_the_stated_size_are_reliable_in_every_class():
    random = np.random.default_rng(0)
    std = random.uniform(0.005, 0.3, (300, 300))
    error = random.normal(0, std)
    halves = [reliability_of(error[:150], std[:150]), reliability_of(error[150:], std[150:])]
    reliability = total_reliability(halves)
    assert reliability.pixels == reliability_of(error, std).pixels
    assert reliability.within_shares == pytest.approx((0.683, 0.954), abs=0.01)
    for low, high, share, stated, seen in reliability.table:
        assert low < stated < high
        assert share > 0
        assert seen == pytest.approx(stated, rel=0.1)


def test_an_estimator_gets_the_stack_it_asks_for_and_finds_the_strips(dataset):
    method = as_method(make_estimator("polarity"), "classical")
    assert isinstance(method, EstimatorMethod)
    evaluation = evaluate(find_cases(dataset), [method, Constant()])
    classical, constant = (evaluation.summary(name) for name in ("classical", "constant"))
    assert classical.everywhere.mae_range < 0.5 * constant.everywhere.mae_range
    assert 0.2 < classical.answered.coverage < 1
    assert classical.milliseconds > 0


def test_a_method_can_be_renamed(calibration):
    renamed = as_method(Off(0.1), "mine")
    assert evaluate([plane(calibration, 1.0)], [renamed]).summary("mine").everywhere.mae == pytest.approx(0.1, rel=1e-3)


def test_best_median_and_worst_are_chosen_by_recording(calibration):
    depths = {"near miss": 1.1, "far off": 2.4, "right": 1.0, "off": 1.6}
    evaluation = evaluate([plane(calibration, d, name) for name, d in depths.items()], [Constant(position=0.25)])
    chosen = {example.place: example.recording for example in example_recordings(evaluation)}
    assert chosen == {"best": "right", "median": "off", "worst": "far off"}


def test_the_report_is_strict_json_and_a_self_contained_page(tmp_path, dataset):
    methods = [as_method(make_estimator("polarity")), Off(0.1), Constant()]
    evaluation = replace(evaluate(find_cases(dataset), methods), skipped=(("lost", "<damaged> & gone"),))
    sources = find_sources(dataset)
    drawn = []
    with ReportFolder(tmp_path / "report") as folder:
        folder.write(
            evaluation,
            {"data": "data"},
            methods,
            lambda recording, sweep: load_case(sources, recording, sweep),
            lambda done, total: drawn.append((done, total)),
        )
    assert drawn == [(k, 6) for k in range(1, 7)]  # the best and the worst of each method
    assert sorted(path.name for path in folder.folder.iterdir()) == ["evaluation.html", "evaluation.json"]

    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    values = json.loads(folder.json_path.read_text(), parse_constant=refuse)
    assert values["schema"] == "sweepdepth-evaluation/1"
    assert values["methods"]["off"]["all"]["everywhere"]["mae_range"] == pytest.approx(0.05, rel=1e-3)
    assert set(values["methods"]["off"]["by_light"]) == {"dim", "indoor"}
    assert len(values["sweeps"]) == 3 * 4
    assert values["skipped"] == [{"recording": "lost", "reason": "<damaged> & gone"}]

    page = folder.html_path.read_text()
    assert page.count("<figure>") == 7  # the curves, and six frames
    assert page.rindex("<figure>") < page.index("<table")
    assert re.findall(r'(?:src|href)="(?!data:image/png;base64,)', page) == []
    assert "&lt;damaged&gt; &amp; gone" in page
    for table in (*tables(evaluation), reliability_table(evaluation)):
        assert html.escape(table.title) in page
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_unknown_numbers_are_null(calibration):
    values = as_json(evaluate([plane(calibration, 0.3)], [Constant()]), {})
    assert values["methods"]["constant"]["all"]["everywhere"]["abs_rel"] is None
    json.dumps(values, allow_nan=False)


def test_an_aborted_report_leaves_nothing_and_an_existing_one_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt), ReportFolder(tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    (tmp_path / "evaluation.html").write_text("mine")
    with pytest.raises(RecordingError, match=r"evaluation\.html: exists; give --force"):
        ReportFolder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.html"]
    with ReportFolder(tmp_path, force=True):
        pass
    assert (tmp_path / "evaluation.html").read_text() == "mine"
