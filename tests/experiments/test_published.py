import pytest

from dsl_tf.experiments import DISCRIMINANT_SCORES, cells, published

ROWS = {
    3: ["SCE", "NCA", "SCE⊕NCA (ours)", "i-1", "i-2", "ii-1", "ii-2"],
    4: ["SCE", "BCE", "NCA", "Proto"]
    + ["SCE+NCA", "SCE+Proto", "BCE+NCA", "BCE+Proto"]
    + ["SCE⊕NCA", "SCE⊕Proto", "BCE⊕NCA", "BCE⊕Proto"],
    6: [f"SCE⊕{metric} p={power}" for metric in ("NCA", "Proto") for power in (0.5, 0.4, 0.3, 0.2, 0.1)]
    + ["SCE", "NCA", "Proto", "SCE+NCA", "SCE+Proto"],
}
FOUR = ["mini_imagenet", "tiered_imagenet", "cub", "cifar_fs"]
TABLES = {3: (["mini_imagenet"], ROWS[3]), 4: (FOUR, ROWS[4]), 5: (FOUR, ROWS[4]), 6: (["meta_inat"], ROWS[6])}


@pytest.mark.parametrize(
    ("table", "dataset", "name", "expected"),
    [
        (3, "mini_imagenet", "SCE⊕NCA (ours)", {1: 65.16}),
        (3, "mini_imagenet", "i-2", {1: 63.93}),
        (3, "mini_imagenet", "ii-1", {1: 64.25}),
        (3, "mini_imagenet", "ii-2", {1: 63.93}),
        (4, "mini_imagenet", "SCE", {1: 63.85, 5: 79.68}),
        (4, "tiered_imagenet", "SCE⊕Proto", {1: 72.27, 5: 86.75}),
        (4, "cub", "BCE⊕NCA", {1: 79.89, 5: 90.49}),
        (4, "cifar_fs", "BCE⊕Proto", {1: 70.74, 5: 83.95}),
        (4, "cifar_fs", "SCE+Proto", {1: 68.83, 5: 85.13}),
        (5, "mini_imagenet", "SCE⊕NCA", {1: 73.39, 5: 84.26}),
        (5, "tiered_imagenet", "BCE", {1: 78.85, 5: 87.61}),
        (5, "cub", "Proto", {1: 85.41, 5: 90.47}),
        (5, "cifar_fs", "BCE+NCA", {1: 79.9, 5: 86.2}),
        (6, "meta_inat", "SCE⊕NCA p=0.3", {1: 83.73, 5: 92.77}),
        (6, "meta_inat", "SCE⊕Proto p=0.1", {1: 83.42, 5: 93.0}),
        (6, "meta_inat", "SCE+Proto", {1: 82.02, 5: 91.87}),
    ],
)
def test_accuracies_as_printed(table, dataset, name, expected):
    assert published(table, dataset, name) == expected


@pytest.mark.parametrize("table", TABLES)
def test_every_row_and_column_has_its_percents(table):
    datasets, names = TABLES[table]
    for dataset in datasets:
        for name in names:
            accuracies = published(table, dataset, name)
            assert list(accuracies) == ([1] if table == 3 else [1, 5])
            assert all(60 < percent < 95 for percent in accuracies.values())
            assert list(accuracies.values()) == sorted(accuracies.values())


def test_rows_of_tables_3_and_4_that_are_one_run_agree():
    for three, four in (("SCE", "SCE"), ("NCA", "NCA"), ("SCE⊕NCA (ours)", "SCE⊕NCA"), ("i-1", "SCE+NCA")):
        assert published(3, "mini_imagenet", three)[1] == published(4, "mini_imagenet", four)[1]


def test_cells_are_the_rows_and_columns_of_the_tables_in_order():
    for table, (datasets, names) in TABLES.items():
        assert [(cell.dataset, cell.name) for cell in cells(table)] == [
            (dataset, name) for dataset in datasets for name in names
        ]


def test_what_the_paper_lacks_is_none():
    assert published(4, "glyphs", "SCE") is None
    assert published(4, "cub", "i-1") is None
    assert published(7, "cub", "SCE") is None


def test_an_answer_is_the_callers_own():
    published(4, "cub", "SCE")[1] = 100.0
    assert published(4, "cub", "SCE")[1] == 73.37


def test_discriminant_scores_as_printed():
    rows = {"classifier_subspace": [0.28, 0.32, 0.31], "complement": [0.16, 0.12, 0.30]}
    for row, scores in rows.items():
        assert [DISCRIMINANT_SCORES[name][row] for name in ("SCE", "SCE+NCA", "SCE⊕NCA")] == scores
