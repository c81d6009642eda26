"""Cells, seeds and sweeps against arithmetic by hand."""

import math

import pytest

from dsl_tf.report.comparison import compare
from dsl_tf.report.runs import find_runs
from tests.report.made_runs import accuracy, make_run

DIRECT = {"classification_loss": "sce", "metric_loss": "nca", "integration": "direct_sum"}


def compared(folder, tables=None, feature_transform="none"):
    return compare(find_runs([str(folder)]), tables, feature_transform)


def block_of(comparison, table, title="mini-ImageNet"):
    (block,) = (block for block in comparison.blocks if (block.table, block.data_title) == (table, title))
    return block


def row_of(comparison, table, name, title="mini-ImageNet"):
    (row,) = (row for row in block_of(comparison, table, title).rows if row.cell.name == name)
    return row


def test_one_seed_stands_beside_the_published_number_with_its_half_width(tmp_path):
    make_run(tmp_path / "run", [accuracy(64.5), accuracy(80.5, shots=5)], **DIRECT)
    one, five = row_of(compared(tmp_path), 4, "SCE⊕NCA").measurements
    assert (one.mean, one.published) == (pytest.approx(64.5), 65.16)
    assert one.difference == pytest.approx(64.5 - 65.16)
    assert one.half_width == one.error == pytest.approx(0.21)
    assert one.spread is None
    assert five.difference == pytest.approx(80.5 - 81.89)


def test_seeds_are_averaged_with_their_sample_standard_deviation(tmp_path):
    values = (64.0, 65.0, 67.0)
    for seed, value in enumerate(values):
        make_run(tmp_path / f"seed{seed}", [accuracy(value)], seed=seed, **DIRECT)
    measurement = row_of(compared(tmp_path), 4, "SCE⊕NCA").measurements[0]
    mean = sum(values) / 3
    assert measurement.mean == pytest.approx(mean)
    assert measurement.spread == measurement.error
    assert measurement.spread == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in values) / 2))
    assert measurement.half_width is None
    assert len(measurement.values) == 3


def test_a_repeated_seed_is_no_second_seed(tmp_path):
    for name, value in (("a", 64.0), ("b", 66.0)):
        make_run(tmp_path / name, [accuracy(value)], **DIRECT)
    comparison = compared(tmp_path)
    row = row_of(comparison, 4, "SCE⊕NCA")
    assert (row.measurements[0].mean, row.seeds) == (pytest.approx(64.0), 1)
    assert any(str(tmp_path / "b") in note for note in block_of(comparison, 4).notes)
    assert comparison.others == ()


def test_missing_cells_are_there_and_empty(tmp_path):
    make_run(tmp_path / "run", [accuracy(64.5)], **DIRECT)
    comparison = compared(tmp_path)
    block = block_of(comparison, 4)
    assert [row.cell.name for row in block.rows if row.picked] == ["SCE⊕NCA"]
    assert len(block.rows) == 12
    missing = row_of(comparison, 4, "SCE⊕NCA").measurements[1]
    assert (missing.mean, missing.error, missing.difference, missing.published) == (None, None, None, 81.89)
    # Every data set of the paper's table is there, those that were measured first.
    titles = [block.data_title for block in comparison.blocks if block.table == 4]
    assert titles == ["mini-ImageNet", "tiered-ImageNet", "CUB200 few-shot", "Cifar100 few-shot"]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"metric_loss": "none", "integration": "sum"}, {3: "SCE", 4: "SCE"}),
        ({"metric_loss": "none", "power": 0.7}, {3: "SCE", 4: "SCE"}),
        ({"classification_loss": "none", "head": "random_basis"}, {3: "NCA", 4: "NCA"}),
        ({"integration": "sum", "power": 0.1, "epsilon": 0.1}, {3: "i-1", 4: "SCE+NCA"}),
        ({"integration": "classifier_subspace"}, {3: "i-2"}),
        ({"head": "random_basis"}, {3: "ii-1"}),
        ({"head": "axis_basis"}, {3: "ii-2"}),
        ({"power": 0.9}, {3: "SCE⊕NCA (ours)", 4: "SCE⊕NCA"}),
        ({"classification_loss": "bce", "metric_loss": "proto"}, {4: "BCE⊕Proto"}),
        ({"integration": "spectral_sum", "power": 0.2}, {6: "SCE⊕NCA p=0.2"}),
        ({"integration": "spectral_sum", "power": 0.25}, {}),
        ({"integration": "spectral_sum", "power": 0.2, "spectral_interval": 10}, {}),
        ({"gradient_to_kernel": True}, {}),
        ({"epsilon": 0.5}, {}),
        ({"metric_weight": 0.5}, {3: "SCE⊕NCA (ours)", 4: "SCE⊕NCA"}),
    ],
)
def test_a_run_belongs_to_the_cells_of_its_loss(tmp_path, flags, names):
    make_run(tmp_path / "run", [accuracy(60)], **flags)
    comparison = compared(tmp_path)
    found = {block.table: row.cell.name for block in comparison.blocks for row in block.rows if row.picked}
    assert found == names
    assert bool(comparison.others) == (not names)


def test_the_batch_shape_with_the_best_mean_validation_accuracy_is_picked(tmp_path):
    # 64×8 has the single best seed and the best test accuracy; 32×16 the best mean.
    for seed, (first, second) in enumerate(((0.70, 0.66), (0.60, 0.67))):
        make_run(tmp_path / f"a{seed}", [accuracy(69)], first, seed=seed, ways=64, shots=8, **DIRECT)
        make_run(tmp_path / f"b{seed}", [accuracy(61 + seed)], second, seed=seed, ways=32, shots=16, **DIRECT)
    comparison = compared(tmp_path)
    row = row_of(comparison, 4, "SCE⊕NCA")
    assert row.picked.batch_shape == "32x16"
    assert row.measurements[0].mean == pytest.approx(61.5)
    (note,) = (note for note in block_of(comparison, 4).notes if "picked" in note)
    assert "32×16 (66.50%" in note and "64×8 (65.00%" in note
    assert comparison.others == ()


def test_without_validation_the_first_shape_is_shown_and_said_not_to_be_picked(tmp_path):
    make_run(tmp_path / "a", [accuracy(61)], ways=64, shots=8, **DIRECT)
    make_run(tmp_path / "b", [accuracy(69)], ways=32, shots=16, **DIRECT)
    comparison = compared(tmp_path)
    assert row_of(comparison, 4, "SCE⊕NCA").picked.batch_shape == "64x8"
    assert any("not picked by validation" in note for note in block_of(comparison, 4).notes)


def test_runs_of_other_flags_are_not_averaged_but_picked_from(tmp_path):
    make_run(tmp_path / "a", [accuracy(61)], 0.6, epochs=10, **DIRECT)
    make_run(tmp_path / "b", [accuracy(65)], 0.7, epochs=160, seed=1, **DIRECT)
    comparison = compared(tmp_path)
    row = row_of(comparison, 4, "SCE⊕NCA")
    assert (row.measurements[0].mean, row.seeds) == (pytest.approx(65), 1)
    assert any("--epochs=160" in note and "--epochs=10" in note for note in block_of(comparison, 4).notes)


def test_rows_of_different_flags_are_told(tmp_path):
    make_run(tmp_path / "a", [accuracy(61)], epochs=10, **DIRECT)
    make_run(tmp_path / "b", [accuracy(65)], epochs=160, metric_loss="none")
    assert any("--epochs" in note for note in block_of(compared(tmp_path), 4).notes)


def test_laplacian_shot_fills_table_5_and_the_transform_is_chosen(tmp_path):
    entries = [
        accuracy(60),
        accuracy(61, feature_transform="cl2"),
        accuracy(70, classifier="laplacian_shot", lam=0.7),
        accuracy(71, classifier="laplacian_shot", feature_transform="cl2", lam=0.5),
        accuracy(99, split="val"),
    ]
    make_run(tmp_path / "run", entries, **DIRECT)
    for transform, nearest, laplacian in (("none", 60, 70), ("cl2", 61, 71)):
        comparison = compared(tmp_path, feature_transform=transform)
        assert row_of(comparison, 4, "SCE⊕NCA").measurements[0].mean == pytest.approx(nearest)
        measurement = row_of(comparison, 5, "SCE⊕NCA").measurements[0]
        assert (measurement.mean, measurement.published) == (pytest.approx(laplacian), 73.39)
    assert compared(tmp_path, feature_transform="l2").blocks == ()


def test_the_papers_protocol_is_preferred(tmp_path):
    entries = [
        accuracy(50, queries=5),
        accuracy(60, episodes=1000),
        accuracy(61),
        accuracy(55, ways=10),
        accuracy(51, queries=30, episodes=90_000),
    ]
    make_run(tmp_path / "run", entries, **DIRECT)
    assert row_of(compared(tmp_path), 4, "SCE⊕NCA").measurements[0].mean == pytest.approx(61)


def test_own_data_has_its_own_columns_named_by_the_folder(tmp_path):
    for name, flags in (
        ("a", {"dataset": "folder", "data_dir": "/data/birds/"}),
        ("b", {"dataset": "folder", "data_dir": "/data/one/cars"}),
        ("c", {"dataset": "folder", "data_dir": "/data/two/cars"}),
        ("d", {"dataset": "glyphs"}),
    ):
        make_run(tmp_path / name, [accuracy(60)], **flags, **DIRECT)
    make_run(tmp_path / "e", [accuracy(60)], dataset="glyphs", results={"source": "arrays"}, **DIRECT)
    comparison = compared(tmp_path)
    titles = [block.data_title for block in comparison.blocks]
    # Table 4 alone: the same row in Table 3 would say it twice. The paper's data would be missing altogether.
    assert [block.table for block in comparison.blocks] == [4] * 5
    assert titles == ["birds", "/data/one/cars", "/data/two/cars", "glyphs", "arrays from Python"]
    assert row_of(comparison, 4, "SCE⊕NCA", "birds").measurements[0].published is None
    asked = compared(tmp_path, tables=(3,))
    assert row_of(asked, 3, "SCE⊕NCA (ours)", "glyphs").measurements[0].mean == pytest.approx(60)
    assert not block_of(asked, 3).is_measured


def test_own_data_of_few_classes_keeps_its_ways_and_shots(tmp_path):
    entries = [accuracy(60, ways=3, shots=2), accuracy(70, ways=3, shots=10), accuracy(80, ways=2, shots=2)]
    make_run(tmp_path / "run", entries, dataset="glyphs", **DIRECT)
    block = block_of(compared(tmp_path), 4, "glyphs")
    assert (block.ways, block.shots) == (3, (2, 10))


def test_ablations_and_powers_of_own_data_have_tables_3_and_6(tmp_path):
    make_run(tmp_path / "a", [accuracy(60)], dataset="glyphs", head="random_basis")
    make_run(tmp_path / "b", [accuracy(61)], dataset="glyphs", integration="spectral_sum", power=0.5)
    make_run(tmp_path / "c", [accuracy(62)], dataset="glyphs", metric_loss="none")
    comparison = compared(tmp_path)
    assert [block.table for block in comparison.blocks] == [3, 4, 6]
    assert all(row_of(comparison, table, "SCE", "glyphs").picked for table in (3, 4, 6))


def test_unfinished_and_unreadable_runs_are_in_no_cell(tmp_path):
    make_run(tmp_path / "a", finished=False, **DIRECT)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.json").write_text("{")
    comparison = compared(tmp_path)
    assert comparison.blocks == () and comparison.others == ()
    assert len(comparison.runs) == 2
