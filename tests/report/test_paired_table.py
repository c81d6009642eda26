import numpy as np
import pytest

from dsl_tf.evaluation.paired import comparison_matrix
from dsl_tf.report.paired_table import paired_table


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


def read(table):
    """Reads the cells of the matrix back: `{(row, column): text}`; columns start where their rule does."""
    cells, starts = {}, []
    lines = table.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("─"):
            starts = [0] + [place + 2 for place in range(len(line)) if line.startswith("  ", place)]
            names = [lines[number - 1][start:end].strip() for start, end in zip(starts, [*starts[1:], None])]
        elif not line.strip():
            starts = []
        elif starts:
            row = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None])]
            cells |= {(row[0], name): cell for name, cell in zip(names[1:], row[1:])}
    return cells


def test_rows_minus_columns_in_points_with_marks():
    runs = groups(["SCE", "NCA", "SCE⊕NCA"], step=0.005)
    matrix = comparison_matrix(runs)
    cells = read(paired_table(matrix))
    marked = set()
    for row in runs:
        assert cells[row, "accuracy (%)"].startswith(f"{100 * runs[row].mean():.2f} ± ")
        for column in runs:
            if row == column:
                assert cells[row, f"− {column}"] == "·"
                continue
            differences = 100 * (runs[row] - runs[column])[0]
            half_width = 1.96 * differences.std(ddof=1) / 20
            mark = "*" if abs(differences.mean()) > half_width else ""
            text = f"{differences.mean():+.2f} ± {half_width:.2f}{mark}".replace("-", "−")
            assert cells[row, f"− {column}"] == text
            marked.add(mark)
    assert marked == {"", "*"}
    assert "400 episodes" in paired_table(matrix).splitlines()[0]


def test_the_plus_minus_signs_of_a_column_stand_under_each_other():
    runs = groups(["a", "b", "c", "d"], step=0.06)
    lines = paired_table(comparison_matrix(runs)).splitlines()[4:8]
    for place in range(len(runs)):
        found = {
            [index for index, letter in enumerate(line) if letter == "±"][1 + place] for line in lines[place + 1 :]
        }
        assert len(found) <= 1
    assert len({len(line.rstrip("* ")) for line in lines[:3]}) == 1


def test_equal_runs_are_not_marked():
    run = groups(["a"])["a"]
    cells = read(paired_table(comparison_matrix({"a": run, "b": run})))
    assert cells["a", "− b"] == cells["b", "− a"] == "0.00 ± 0.00"


def test_seeds_have_a_second_half_width_where_both_have_several():
    runs = groups(["a", "b", "c"], seeds=(3, 3, 1))
    matrix = comparison_matrix(runs)
    table = paired_table(matrix)
    cells = read(table)
    assert [cells[name, "seeds"] for name in runs] == ["3", "3", "1"]
    assert cells["a", "− b"].count("±") == 2 and cells["a", "− c"].count("±") == 1
    half_widths = cells["b", "− a"].split(" ± ")[1:]
    expected = [100 * found[1, 0] for found in (matrix.episodes_half_widths, matrix.seeds_half_widths)]
    assert [float(text.rstrip("*")) for text in half_widths] == pytest.approx(expected, abs=0.0051)
    # Each interval has its own mark.
    assert [text.endswith("*") for text in half_widths] == [100 * matrix.differences[1, 0] > half for half in expected]
    assert "other trainings" in table and "one seed" in table
    assert "other trainings" not in paired_table(comparison_matrix(groups(["a", "b"])))
    assert "one seed" not in paired_table(comparison_matrix(groups(["a", "b"], seeds=2)))


@pytest.mark.parametrize("names, seeds", [(["runs/mini_imagenet/" + 30 * letter for letter in "abc"], 1),
                                          ([f"loss {number}" for number in range(12)], 1),
                                          ([f"loss {number}" for number in range(12)], 3)])  # fmt: skip
def test_what_is_too_wide_is_numbered_and_broken_without_loss(names, seeds):
    runs = groups(names, seeds)
    matrix = comparison_matrix(runs)
    table = paired_table(matrix)
    assert max(map(len, table.splitlines())) <= 100
    cells = read(table)
    for row, name in enumerate(names):
        (legend,) = [line for line in table.splitlines() if line.strip().startswith(f"[{row + 1}]  {name} ")]
        assert f"{100 * matrix.accuracies[row]:.2f} ± " in legend
        for column in range(len(names)):
            cell = cells[f"[{row + 1}]", f"− [{column + 1}]"]
            if row == column:
                assert cell == "·"
            else:
                found = float(cell.split(" ± ")[0].replace("−", "-"))
                assert found == pytest.approx(100 * matrix.differences[row, column], abs=0.0051)


def test_many_pairs_are_warned_of():
    assert "of 6 differences that are truly 0, 0.3 would" in paired_table(comparison_matrix(groups("abcd")))
    assert "truly 0" not in paired_table(comparison_matrix(groups("ab")))
