import re

import numpy as np
import pytest

from dsl_tf.evaluation.paired import comparison_matrix
from dsl_tf.report.paired_table import comparison_table

MEASURE = ("nearest_centroid", "cl2", 1)


def groups(names, seeds=1, episodes=400, step=0.004):
    """Accuracies of runs on the same episodes, each `step` above the one before; `seeds` of each, or a tuple."""
    random = np.random.default_rng(0)
    easiness = 0.1 * random.standard_normal(episodes)
    seeds = seeds if isinstance(seeds, tuple) else (seeds,) * len(names)
    return {
        name: 0.65
        + step * place
        + easiness
        + 0.002 * random.standard_normal((count, 1))
        + 0.05 * random.standard_normal((count, episodes))
        for place, (name, count) in enumerate(zip(names, seeds, strict=True))
    }


def table_of(runs):
    return comparison_table({MEASURE: comparison_matrix(runs)})


def read(table):
    """Reads the rows back: `{measure: {name: (accuracy, difference)}}`; columns start where their rule does."""
    lines = table.splitlines()
    (rule,) = (number for number, line in enumerate(lines) if line.startswith("─"))
    starts = [0] + [match.end() for match in re.finditer("  ", lines[rule])]
    found = {}
    for line in lines[rule + 1 :]:
        if not line:
            break
        if not line.startswith(" "):
            rows = found.setdefault(line, {})
            continue
        name, *cells = (line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True))
        rows[name] = tuple(cells)
    return found


def test_accuracies_and_differences_from_the_first_in_points_with_marks():
    runs = groups(["SCE", "NCA", "SCE⊕NCA"], step=0.003)
    table = table_of(runs)
    (rows,) = read(table).values()
    marks = []
    for name in runs:
        accuracy, difference = rows[name]
        assert accuracy.startswith(f"{100 * runs[name].mean():.2f} ± ")
        if name == "SCE":
            assert difference == ""
            continue
        differences = 100 * (runs[name] - runs["SCE"])[0]
        half_width = 1.96 * differences.std(ddof=1) / 20
        marks.append("**" if abs(differences.mean()) > half_width else "")
        assert difference == f"{differences.mean():+.2f} ± {half_width:.2f}{marks[-1]}".replace("-", "−")
    # Of two differences the smaller p-value is doubled, which changes nothing here.
    assert marks == ["", "**"]
    assert table.startswith("Differences from SCE on the same 400 episodes")


def test_all_measures_are_one_table():
    comparisons = {
        (classifier, transform, shots): comparison_matrix(groups(["a", "b"], step=0.01 * shots))
        for classifier in ("nearest_centroid", "laplacian_shot")
        for transform in ("none", "cl2")
        for shots in (1, 5)
    }
    table = comparison_table(comparisons)
    found = read(table)
    assert len(found) == 8 and table.count("─  ─") == 2
    assert "nearest class centroid, raw features, 1-shot" in found and "LaplacianShot, cl2 features, 5-shot" in found
    for (_, _, shots), rows in zip(comparisons, found.values(), strict=True):
        expected = comparison_matrix(groups(["a", "b"], step=0.01 * shots)).differences[1, 0]
        assert float(rows["b"][1].split(" ")[0]) == pytest.approx(100 * expected, abs=0.0051)
    assert "of 8 differences that are truly 0, 0.4 would" in table


def test_equal_runs_are_not_marked():
    run = groups(["a"])["a"]
    (rows,) = read(table_of({"a": run, "b": run})).values()
    assert rows["b"][1] == "0.00 ± 0.00"
    assert "truly 0" not in table_of({"a": run, "b": run})


def test_seeds_have_a_second_half_width_if_both_have_several():
    runs = groups(["a", "b", "c"], seeds=(3, 3, 1))
    matrix = comparison_matrix(runs)
    table = table_of(runs)
    (rows,) = read(table).values()
    assert rows["b"][1].count("±") == 2 and rows["c"][1].count("±") == 1
    half_widths = rows["b"][1].split(" ± ")[1:]
    expected = [100 * found[1, 0] for found in (matrix.episodes_half_widths, matrix.seeds_half_widths)]
    assert [float(text.rstrip("* ")) for text in half_widths] == pytest.approx(expected, abs=0.0051)
    # Each interval has its own mark.
    assert [text.endswith("*") for text in half_widths] == [100 * matrix.differences[1, 0] > half for half in expected]
    assert "Holm's correction for all 2 differences" in table and "Holm" not in table_of(groups(["a", "b"]))
    assert "other trainings" in table and "one seed" in table
    assert "other trainings" not in table_of(groups(["a", "b"]))
    assert "one seed" not in table_of(groups(["a", "b"], seeds=2))


def test_long_names_take_several_lines_and_none_is_lost():
    name = "SCE⊕NCA, metric_weight=0.1, filters=32,64,128,256, weight_decay=0.0005 (3 seeds)"
    table = table_of(groups(["SCE (3 seeds)", name, "x" * 120], seeds=3))
    assert max(map(len, table.splitlines())) <= 105
    assert name in " ".join(table.split()).replace(" ± ", "") or all(word in table for word in name.split())
    assert table.count("x") >= 120


def test_marks_are_doubled_if_they_outlive_the_correction_for_all_differences():
    random = np.random.default_rng(0)
    first, noise = random.standard_normal((2, 400))
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    # Differences of 2.2 and 3.5 standard errors, p = 0.028 and 0.0005; 18 of nothing.
    runs = {"first": first, **{str(run): first + noise for run in range(18)}}
    runs |= {"some": first + noise + 0.11, "more": first + noise + 0.175}
    classes = random.permuted(np.tile(np.arange(12), (400, 1)), axis=1)[:, :5]
    matrix = comparison_matrix({name: run[None] for name, run in runs.items()}, classes=classes)
    (rows,) = read(comparison_table({MEASURE: matrix})).values()
    over_episodes = {name: cells[1].split(" ± ")[1] for name, cells in rows.items() if name != "first"}
    assert over_episodes["some"].rstrip().endswith("*") and "**" not in over_episodes["some"]
    assert over_episodes["more"].rstrip().endswith("**") and "*" not in over_episodes["0"]
    assert all(cells[1].count("±") == 2 for name, cells in rows.items() if name != "first")
    assert "these networks, other classes" in comparison_table({MEASURE: matrix})
