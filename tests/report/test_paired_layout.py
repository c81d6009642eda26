"""Tests of the table that compares runs on own data."""

import numpy as np
import pytest

from dsl_tf.report.comparison import compare
from dsl_tf.report.contents import layouts
from dsl_tf.report.runs import find_runs
from tests.report.made_runs import EPISODES, run_with_episodes


def paired(folder):
    tables = layouts(compare(find_runs([str(folder)])))
    return next((table for table in tables if "differences from" in table.title), None)


def test_accuracies_and_paired_differences_in_one_table(tmp_path):
    direct = run_with_episodes(tmp_path / "a", better=0.2)
    alone = run_with_episodes(tmp_path / "b", metric_loss="none")
    table = paired(tmp_path)
    assert table.title == "pets: differences from SCE, on the same test episodes"
    assert [heading for heading, _ in table.rows] == [
        *["nearest class centroid, raw features, 1-shot"] * 2,
        *["nearest class centroid, cl2 features, 1-shot"] * 2,
    ]
    for transform, rows in (("none", table.rows[:2]), ("cl2", table.rows[2:])):
        (_, first), (_, second) = rows
        assert first[0] == "SCE" and first[2] == "" and second[0] == "SCE⊕NCA"
        difference = direct[transform] - alone[transform]
        half_width = 1.96 * difference.std(ddof=1) / np.sqrt(EPISODES)
        assert second[2] == f"{100 * difference.mean():+.2f} ± {100 * half_width:.2f}*"
        assert first[1].startswith(f"{100 * alone[transform].mean():.2f} ± ")
    assert "--seed=1" in table.notes[0] and len(table.columns) == 3


def test_several_seeds_have_an_interval_of_their_own(tmp_path):
    for seed in range(3):
        run_with_episodes(tmp_path / f"a{seed}", seed, better=0.2)
        run_with_episodes(tmp_path / f"b{seed}", seed, metric_loss="none")
    table = paired(tmp_path)
    assert [name for _, name in table.columns] == ["training", "± episodes", "± episodes", "± seeds"]
    assert table.rows[1][1][0] == "SCE⊕NCA (3 seeds)" and table.rows[1][1][3].startswith("± ")


@pytest.mark.parametrize("change", [{"fingerprint": "g"}, {"transforms": ("l2",)}])
def test_other_episodes_and_other_measures_do_not_compare(tmp_path, change):
    run_with_episodes(tmp_path / "a")
    run_with_episodes(tmp_path / "b", metric_loss="none", **change)
    assert paired(tmp_path) is None


def test_runs_that_kept_no_episodes_are_left_out(tmp_path):
    for name, flags in (("a", {}), ("b", {"metric_loss": "none"}), ("c", {"integration": "sum"})):
        run_with_episodes(tmp_path / name, **flags)
    (tmp_path / "b" / "test_episodes.npz").unlink()
    table = paired(tmp_path)
    assert [cells[0] for _, cells in table.rows] == ["SCE⊕NCA", "SCE+NCA"] * 2
