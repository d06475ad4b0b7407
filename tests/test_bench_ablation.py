"""The ablation: variants train on all scenes that are not used for validation, and results are not made twice."""

from dataclasses import replace

import pytest

from bench import ablation

from .net.test_training import make_stacks


def test_a_variant_trains_on_all_scenes_that_do_not_validate(tmp_path, monkeypatch):
    rendered = make_stacks(4)
    patches = [replace(source, scene=f"patches {n}", validates=False) for n in range(7) for source in rendered[:2]]
    monkeypatch.setattr(ablation, "_sources", rendered + patches)
    for name, scenes in {"everything": 3 + 7, "patch scenes alone": 7}.items():
        ablation._train(name, 1, tmp_path)
        (scores,) = ablation.run([tmp_path], 1, [name], tmp_path).values()  # of what is there
        assert scores["scenes"] == scenes
        assert 0 < scores["val_mae"] <= scores["val_rmse"] < 1
        assert set(ablation.COLUMNS.values()) <= scores.keys()


def test_a_folder_with_another_run_is_refused(tmp_path):
    assert ablation.run([tmp_path], 1, [], tmp_path) == {}
    with pytest.raises(SystemExit, match=r"(?s)holds a run with .*steps.: 1.* another --out"):
        ablation.run([tmp_path], 2, [], tmp_path)
