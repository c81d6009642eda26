"""Cells, seeds and sweeps against arithmetic by hand."""

import dataclasses
import math

import pytest

from dsl_tf.report.comparison import compare
from dsl_tf.report.runs import find_runs
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.titles import inert_flags, loss_key
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
    assert comparison.own_tables == ()


def test_missing_cells_are_there_and_empty(tmp_path):
    make_run(tmp_path / "run", [accuracy(64.5)], **DIRECT)
    comparison = compared(tmp_path)
    block = block_of(comparison, 4)
    assert [row.cell.name for row in block.rows if row.picked] == ["SCE⊕NCA"]
    assert len(block.rows) == 12
    missing = row_of(comparison, 4, "SCE⊕NCA").measurements[1]
    assert (missing.mean, missing.error, missing.difference, missing.published) == (None, None, None, 81.89)
    # Data sets without a run are there if the table was asked for, those that were measured first.
    assert {block.data_title for block in comparison.blocks} == {"mini-ImageNet"}
    titles = [block.data_title for block in compared(tmp_path, tables=(4,)).blocks]
    assert titles == ["mini-ImageNet", "tiered-ImageNet", "CUB few-shot", "CIFAR-FS"]


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
        ({"integration": "spectral_sum", "power": 0.2, "dataset": "meta_inat"}, {6: "SCE⊕NCA p=0.2"}),
        # The paper has Table 6 for other data alone.
        ({"integration": "spectral_sum", "power": 0.2}, {}),
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
    assert bool(comparison.own_tables) == (not names)


def test_the_batch_shape_with_the_best_mean_validation_accuracy_is_picked(tmp_path):
    # 64×8 has the single best seed and the best test accuracy; 32×16 the best mean.
    for seed, (first, second) in enumerate(((0.70, 0.66), (0.60, 0.67))):
        make_run(tmp_path / f"a{seed}", [accuracy(69)], first, seed=seed, ways=64, shots=8, **DIRECT)
        make_run(tmp_path / f"b{seed}", [accuracy(61 + seed)], second, seed=seed, ways=32, shots=16, **DIRECT)
    comparison = compared(tmp_path)
    row = row_of(comparison, 4, "SCE⊕NCA")
    assert row.picked.batch_shape == "32x16"
    assert row.measurements[0].mean == pytest.approx(61.5)
    (note,) = (note for note in block_of(comparison, 4).notes if "best mean validation" in note)
    assert "32×16 (66.50%" in note and "64×8 (65.00%" in note
    assert comparison.own_tables == ()


def test_without_validation_the_first_shape_is_shown_and_said_not_to_be_picked(tmp_path):
    make_run(tmp_path / "a", [accuracy(61)], ways=64, shots=8, **DIRECT)
    make_run(tmp_path / "b", [accuracy(69)], ways=32, shots=16, **DIRECT)
    comparison = compared(tmp_path)
    assert row_of(comparison, 4, "SCE⊕NCA").picked.batch_shape == "64x8"
    assert any("not picked by validation" in note for note in block_of(comparison, 4).notes)


PAPERS = {"backbone": "resnet12_basic", "image_size": 84, "crop": "resized", "learning_rate": 0.1, **DIRECT}


def test_a_run_with_the_flags_of_the_papers_cell_has_no_mark(tmp_path):
    make_run(tmp_path / "a", [accuracy(61)], seed=3, data_dir="/data", **PAPERS)
    row = row_of(compared(tmp_path), 4, "SCE⊕NCA")
    assert (row.differences, row.mark, row.name) == ((), "", "SCE⊕NCA")


# Every flag with an effect on the direct sum's result, but those of the loss itself, which make another row.
OTHER = {
    "val_fraction": 0.1, "image_size": 42, "backbone": "resnet12", "filters": (4, 4, 8, 16),
    "metric_weight": 0.1, "ways": 32,
    "shots": 4, "epochs": 10, "learning_rate": 0.2, "warmup_epochs": 1.0, "decay_epochs": (3.0,), "decay_rate": 0.2,
    "momentum": 0.8, "weight_decay": 1e-4, "optimizer": "adamw", "schedule": "constant", "clip_norm": 1.0,
    "ema_momentum": 0.9, "label_smoothing": 0.1, "early_stopping": 3, "init_from": "runs/a", "freeze_until": "stem",
    "crop": "pad", "flip": False, "color_jitter": 0.4,
    "precision": "mixed_bfloat16", "validate_every": 2, "validation_episodes": 50, "test_ways": 4, "test_shots": (1,),
    "test_queries": 10, "allow_partial": True, "keep_truncated": True, "small_classes": "skip",
    "tensor_float_32": False, "stored_size": 500, "test_fraction": 0.3, "split_seed": 1, "held_out": "images",
    "backbone_learning_rate_factor": 0.1,
}  # fmt: skip


def test_the_flags_below_are_all_with_an_effect():
    fields = {field.name for field in dataclasses.fields(TrainingConfiguration) if field.metadata["mathematical"]}
    inert = inert_flags(TrainingConfiguration(**DIRECT))
    assert set(OTHER) - {"allow_partial"} == fields - inert - {
        "seed",
        "dataset",
        *dict(loss_key(TrainingConfiguration())),
    }


@pytest.mark.parametrize("name", OTHER)
def test_each_flag_that_differs_from_the_papers_cell_is_listed_in_its_row(tmp_path, name):
    make_run(tmp_path / "a", [accuracy(61)], **{**PAPERS, name: OTHER[name]})
    comparison = compared(tmp_path)
    row = row_of(comparison, 4, "SCE⊕NCA")
    (difference,) = row.differences
    assert difference.startswith(f"{name}=") and "(cell: " in difference
    assert row.name == "SCE⊕NCA (a)"
    assert any(note.startswith("(a) ") and difference in note for note in block_of(comparison, 4).notes)


def test_another_protocol_or_backbone_is_listed_and_flags_without_effect_are_not(tmp_path):
    entries = [accuracy(61, queries=10, episodes=500)]
    own = {"backbone": {"name": "my_network", "weights": 3}, "extensions": [{"step": 9, "epochs": [10, 160]}]}
    make_run(
        tmp_path / "a", entries, results=own, **{**PAPERS, "metric_loss": "none", "metric_weight": 0.1, "power": 0.9}
    )
    assert row_of(compared(tmp_path), 4, "SCE").differences == (
        "backbone my_network (not in the cell)",
        "extended from 10 to 160 epochs (not in the cell)",
        "queries 10 (cell: 15)",
        "episodes 500 (cell: 10,000)",
    )


def test_another_feature_transform_is_a_difference(tmp_path):
    make_run(tmp_path / "a", [accuracy(61, feature_transform="l2")], **PAPERS)
    row = row_of(compared(tmp_path, feature_transform="l2"), 4, "SCE⊕NCA")
    assert row.differences == ("feature_transform=l2 (cell: none,cl2)",)


def test_a_batch_shape_that_the_paper_may_have_chosen_is_no_difference(tmp_path):
    make_run(tmp_path / "a", [accuracy(61)], **{**PAPERS, "ways": 32, "shots": 16})
    row = row_of(compared(tmp_path), 4, "SCE⊕NCA")
    assert (row.differences, row.picked.batch_shape) == ((), "32x16")


def test_runs_of_other_settings_are_rows_of_their_own(tmp_path):
    make_run(tmp_path / "a", [accuracy(61)], 0.9, **{**PAPERS, "epochs": 10})
    make_run(tmp_path / "b", [accuracy(65)], 0.7, seed=1, **PAPERS)
    make_run(tmp_path / "c", [accuracy(66)], 0.8, **{**PAPERS, "ways": 16, "shots": 8})
    rows = [row for row in block_of(compared(tmp_path), 4).rows if row.picked]
    assert [(row.name, row.measurements[0].mean) for row in rows] == [
        ("SCE⊕NCA (a)", pytest.approx(61)),
        ("SCE⊕NCA", pytest.approx(65)),
        ("SCE⊕NCA (b)", pytest.approx(66)),
    ]


def test_the_same_differences_have_the_same_mark_in_every_table(tmp_path):
    scores = {"discriminant_scores": {"classifier_subspace": 0.3, "complement": 0.2}}
    make_run(tmp_path / "a", [accuracy(61)], results=scores, **{**PAPERS, "epochs": 10})
    make_run(tmp_path / "b", [accuracy(61)], **{**PAPERS, "epochs": 20, "metric_loss": "none"})
    comparison = compared(tmp_path)
    marks = {(block.table, row.cell.name): row.mark for block in comparison.blocks for row in block.rows if row.picked}
    assert marks == {(3, "SCE⊕NCA (ours)"): "b", (4, "SCE⊕NCA"): "b", (3, "SCE"): "a", (4, "SCE"): "a"}
    (score,) = comparison.scores["mini_imagenet"]
    assert (score.name, score.published) == ("SCE⊕NCA (b)", {"classifier_subspace": 0.31, "complement": 0.3})


def test_raw_and_cl2_features_stand_side_by_side(tmp_path):
    make_run(tmp_path / "a", [accuracy(60), accuracy(61, feature_transform="cl2")], **PAPERS)
    raw, cl2, *five = row_of(compared(tmp_path, feature_transform=None), 4, "SCE⊕NCA").measurements
    assert (raw.feature_transform, raw.mean) == ("none", pytest.approx(60))
    assert (cl2.feature_transform, cl2.mean, cl2.published) == ("cl2", pytest.approx(61), 65.16)
    assert [found.values for found in five] == [(), ()]


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


def test_own_data_has_tables_of_its_own_named_by_the_folder(tmp_path):
    for name, flags in (
        ("a", {"dataset": "folder", "data_dir": "/data/birds/"}),
        ("b", {"dataset": "folder", "data_dir": "/data/one/cars"}),
        ("c", {"dataset": "folder", "data_dir": "/data/two/cars"}),
        ("d", {"dataset": "glyphs"}),
    ):
        make_run(tmp_path / name, [accuracy(60)], **flags, **DIRECT)
    make_run(tmp_path / "e", [accuracy(60)], dataset="glyphs", results={"source": "arrays"}, **DIRECT)
    comparison = compared(tmp_path)
    titles = [table.data_title for table in comparison.own_tables]
    assert titles == ["birds", "/data/one/cars", "/data/two/cars", "glyphs", "arrays from Python"]
    # The paper's data would be missing altogether.
    assert comparison.blocks == () and not comparison.has_published
    assert [len(table.rows) for table in comparison.own_tables] == [1] * 5


def test_tables_asked_for_are_not_shown_empty_beside_runs_on_other_data(tmp_path):
    make_run(tmp_path / "a", [accuracy(60)], dataset="glyphs", **DIRECT)
    comparison = compared(tmp_path, tables=(4, 5))
    assert comparison.blocks == () and len(comparison.own_tables) == 1


def test_own_data_has_the_columns_that_were_measured_and_a_row_for_each_setting(tmp_path):
    entries = [accuracy(60), accuracy(62, feature_transform="cl2"), accuracy(70, shots=10)]
    lines = [
        ("a", entries, {"metric_weight": 0.1}),
        ("b", [accuracy(58)], {"metric_weight": 0.1, "seed": 1}),
        ("c", [accuracy(55)], {"metric_weight": 1.0, "epochs": 10}),
        ("d", [accuracy(50)], {"metric_loss": "none"}),
        ("e", [accuracy(57)], {"integration": "sum", "metric_weight": 0.1}),
    ]
    for name, found, flags in lines:
        make_run(tmp_path / name, found, 0.5, **{"dataset": "glyphs", **DIRECT, **flags})
    (table,) = compared(tmp_path, feature_transform=None).own_tables
    assert (table.classifier, table.ways) == ("nearest_centroid", 5)
    assert table.columns == ((1, "none"), (1, "cl2"), (10, "none"))
    assert [row.name for row in table.rows] == [
        "SCE⊕NCA, metric_weight=0.1, epochs=160",
        "SCE⊕NCA, metric_weight=1.0, epochs=10",
        "SCE",
        "SCE+NCA",
    ]
    assert [row.measurements[0].mean for row in table.rows] == [pytest.approx(value) for value in (59, 55, 50, 57)]
    assert [len(row.candidate.runs) for row in table.rows] == [2, 1, 1, 1]


def test_classifiers_and_ways_of_own_data_have_tables_of_their_own(tmp_path):
    entries = [accuracy(60, ways=3, shots=2), accuracy(80, ways=2, shots=2)]
    entries += [accuracy(61, ways=3, shots=2, classifier="laplacian_shot")]
    make_run(tmp_path / "a", entries, dataset="glyphs", **DIRECT)
    make_run(tmp_path / "b", [], 0.4, dataset="glyphs", metric_loss="none")
    tables = compared(tmp_path).own_tables
    assert [(table.classifier, table.ways, len(table.rows)) for table in tables] == [
        ("nearest_centroid", 2, 1),
        ("nearest_centroid", 3, 1),
        ("laplacian_shot", 3, 1),
        # Without test classes: its validation accuracy is all that is known.
        (None, 0, 1),
    ]
    assert tables[3].rows[0].name == "SCE"


def test_no_two_trainings_have_the_same_name(tmp_path):
    own = {"backbone": {"name": "mine"}}
    make_run(tmp_path / "a", [accuracy(60)], dataset="glyphs", **DIRECT)
    make_run(tmp_path / "b", [accuracy(60)], dataset="glyphs", results=own, **DIRECT)
    make_run(tmp_path / "c", [accuracy(60)], dataset="glyphs", weight_decay=0.1, **DIRECT)
    make_run(tmp_path / "d", [accuracy(60)], dataset="glyphs", results={"backbone": {"name": "other"}}, **DIRECT)
    (table,) = compared(tmp_path).own_tables
    names = [row.name for row in table.rows]
    assert len(set(names)) == 4
    assert "SCE⊕NCA, weight_decay=0.0005, backbone mine" in names and "SCE⊕NCA, weight_decay=0.1" in names


def test_unfinished_and_unreadable_runs_are_in_no_cell(tmp_path):
    make_run(tmp_path / "a", finished=False, **DIRECT)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "results.json").write_text("{")
    comparison = compared(tmp_path)
    assert comparison.blocks == () and comparison.own_tables == ()
    assert len(comparison.runs) == 2
