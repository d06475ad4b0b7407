"""The benchmark of depth from defocus in its smallest size: it resumes, and its page matches the rows."""

import json

import pytest

from bench import _defocus_page as page
from bench import _defocus_rows as rows
from bench import defocus
from sweepdepth.net.training import loop

SIZES = defocus.Sizes(scenes=4, judged=2, steps=2, minutes=None)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Rows of each kind, only one of them trained, at two light levels; scenes of patches, rendered without Blender."""
    settings = defocus.SCENES.read_text().replace('lighting = "computed"', "")
    scenes = tmp_path_factory.mktemp("config") / "patches.toml"
    scenes.write_text(f'render = "patches"\n{settings}')
    chosen = [row for row in rows.ROWS if row.name in ("events: classical", "frames: classical", "prior", "constant")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(defocus, "SCENES", scenes)
        patch.setattr(defocus, "LIGHTS_LUX", (1.0, 100.0))
        patch.setattr(defocus, "SWEEPS_S", (0.2,))
        patch.setattr(defocus, "BATCH", 2)
        patch.setattr(loop, "JUDGED_SWEEPS", 4)
        yield chosen


def test_a_stopped_benchmark_resumes_and_its_page_has_all_rows(tmp_path, small, monkeypatch):
    results = defocus.run(SIZES, tmp_path, small, workers=0)
    assert [(c["lux"], c["seconds"]) for c in results["conditions"]] == [(1.0, 0.2), (100.0, 0.2)]
    scores = results["conditions"][1]["rows"]
    assert list(scores) == [row.name for row in small]
    assert scores["frames: classical"]["bytes"] == 24 * 160 * 120 * 1.5
    assert scores["events: classical"]["bytes"] == pytest.approx(
        4 * 160 * 120 * results["conditions"][1]["events_per_pixel"]
    )
    assert scores["constant"]["coverage"] == 1
    assert 0 < scores["events: classical"]["coverage"] < 1
    assert results["trained"]["prior"]["steps"] == 2

    page.write_page(results, tmp_path)
    text = (tmp_path / "defocus.md").read_text()
    assert "with 8 rendered and patch scenes for training and 2 other rendered ones for evaluation" in text
    assert "2 steps of 2 samples per learned method" in text
    for name, score in scores.items():
        assert f"| {name} | {100 * score['rmse']:.1f} |" in text
    for picture in ("light", "speed", "bandwidth"):
        assert (tmp_path / f"defocus-{picture}.png").stat().st_size > 5000
        assert f"defocus-{picture}.png" in text

    monkeypatch.setattr(defocus, "train", None)  # only missing parts are trained or evaluated again
    judged = tmp_path / "scores" / "1-lux-0.2-s.json"
    before = judged.stat().st_mtime_ns
    (tmp_path / "scores" / "100-lux-0.2-s.json").unlink()
    again = defocus.run(SIZES, tmp_path, small)
    assert judged.stat().st_mtime_ns == before
    assert again["conditions"][1]["rows"]["constant"]["rmse"] == scores["constant"]["rmse"]
    with pytest.raises(SystemExit, match=r"(?s)holds a run with .*steps.: 2"):
        defocus.run(defocus.Sizes(4, 2, 3, None), tmp_path, small)


def condition(**errors):
    named = {"events": "network", "frames": "network", "images": "pair", "prior": "prior"}
    found = {f"{kind} {named[kind]}": {"sees": kind, "rmse": error} for kind, error in errors.items()}
    return json.loads(json.dumps({"rows": found}))


@pytest.mark.parametrize(
    "errors, said",
    [
        ({"events": 0.1, "frames": 0.2, "images": 0.3, "prior": 0.25}, "events. Best of each: events 10.0"),
        ({"events": 0.2, "frames": 0.1, "images": 0.3, "prior": 0.25}, "frames of the sweep. Best"),
        ({"events": 0.102, "frames": 0.1, "images": 0.3, "prior": 0.25}, "frames of the sweep and events alike"),
        ({"events": 0.26, "frames": 0.25, "images": 0.245, "prior": 0.25}, "neither: nothing measured is better than"),
    ],
)
def test_the_best_method_follows_from_the_errors(errors, said):
    assert page.verdict(condition(**errors)).startswith(said)
