import dataclasses

import pytest

from dsl_tf.errors import UserError
from dsl_tf.experiments import BASE, BATCH_SHAPES, cells, configuration
from dsl_tf.runs.configuration import TrainingConfiguration

# Training classes and samples a batch, Table 2 and Section 3.1; 908 classes in Section 3.4.
CLASSES = {"mini_imagenet": 64, "tiered_imagenet": 351, "cub": 100, "cifar_fs": 64, "meta_inat": 908}
BATCH = {"mini_imagenet": 512, "tiered_imagenet": 512, "cub": 128, "cifar_fs": 512, "meta_inat": 512}


def cell(table, name, dataset=None):
    return next(found for found in cells(table, dataset and [dataset]) if found.name == name)


@pytest.mark.parametrize(
    ("table", "name", "slug", "expected"),
    [
        (4, "BCE", "bce", ("bce", "none", None, "linear", None)),
        (4, "Proto", "proto", ("none", "proto", None, "linear", None)),
        (4, "BCE+NCA", "bce_sum_nca", ("bce", "nca", "sum", "linear", None)),
        (4, "SCE⊕Proto", "sce_direct_sum_proto", ("sce", "proto", "direct_sum", "linear", None)),
        (3, "i-2", "sce_classifier_subspace_nca", ("sce", "nca", "classifier_subspace", "linear", None)),
        (3, "ii-1", "sce_direct_sum_nca_random_basis", ("sce", "nca", "direct_sum", "random_basis", None)),
        (3, "ii-2", "sce_direct_sum_nca_axis_basis", ("sce", "nca", "direct_sum", "axis_basis", None)),
        (6, "SCE⊕Proto p=0.1", "sce_spectral_sum_proto_p0.1", ("sce", "proto", "spectral_sum", "linear", 0.1)),
    ],
)
def test_rows_are_the_trainings_they_name(table, name, slug, expected):
    run = configuration(cell(table, name))
    assert cell(table, name).slug == slug
    classification, metric, integration, head, power = expected
    assert (run.classification_loss, run.metric_loss, run.head) == (classification, metric, head)
    # A loss alone has nothing to integrate, and only the spectral sum has a power.
    assert integration in (None, run.integration)
    assert power in (None, run.power)


def test_the_same_slug_is_the_same_run_and_another_slug_another():
    runs = {}
    for found in cells():
        run = configuration(found)
        assert runs.setdefault((found.dataset, found.slug), run) == run
    assert len({run.output_dir for run in runs.values()}) == len(runs)
    assert len({dataclasses.replace(run, output_dir="same") for run in runs.values()}) == len(runs)


def test_tables_share_runs():
    def runs(table, names=None):
        return {(found.dataset, found.slug) for found in cells(table) if names is None or found.name in names}

    assert runs(5) == runs(4) and len(runs(4)) == 48
    shared = {"SCE", "NCA", "SCE⊕NCA (ours)", "i-1"}
    assert runs(3) & runs(4) == runs(3, shared)
    assert len(runs(3)) == 7 and len(runs(6)) == 15


def test_table_5_is_judged_by_laplacian_shot_alone():
    assert {found.table for found in cells() if found.classifier == "laplacian_shot"} == {5}
    assert {found.classifier for found in cells() if found.table != 5} == {"nearest_centroid"}


def test_any_table_can_be_had_for_any_data_set():
    for table, rows in ((3, 7), (4, 12), (5, 12), (6, 15)):
        found = cells(table, ["glyphs", "tfds:beans"])
        assert [one.dataset for one in found] == ["glyphs"] * rows + ["tfds:beans"] * rows
        assert [one.name for one in found[:rows]] == [one.name for one in found[rows:]]
    assert len(cells(datasets=["glyphs"])) == 7 + 12 + 12 + 15
    assert len(cells()) == 7 + 48 + 48 + 15


def test_another_table_is_a_users_error():
    with pytest.raises(UserError, match="3, 4, 5, 6. Received: 2"):
        cells(2)


def test_a_run_of_the_paper_has_its_schedule_and_batch():
    for found in cells():
        run = configuration(found)
        assert run.ways * run.shots == BATCH[found.dataset]
        assert run.schedule_epochs == (10, (80, 120)) and run.epochs == 160
        assert (run.learning_rate, run.decay_rate, run.momentum, run.weight_decay) == (0.1, 0.1, 0.9, 5e-4)
        assert (run.epsilon, run.filters[-1], run.gradient_to_kernel) == (1e-3, 640, False)
        assert (run.test_ways, run.test_queries, run.test_shots, run.test_episodes) == (5, 15, (1, 5), 10_000)
        assert run.dataset == found.dataset
        # Reference [20], where the paper is silent.
        assert (run.backbone, run.image_size, run.crop) == ("resnet12_basic", 84, "resized")
        assert run.stored_size == (500 if found.dataset in ("cub", "meta_inat") else None)
        assert (run.color_jitter, run.flip) == (0.0, None)
        assert run.test_classifiers == ("nearest_centroid", "laplacian_shot")


def test_raw_and_cl2_features_stand_side_by_side_in_the_tables_of_nearest_centroids():
    assert {found.feature_transforms for found in cells() if found.table != 5} == {("none", "cl2")}
    assert {found.feature_transforms for found in cells(5)} == {("cl2",)}


def test_batch_shapes_fit_the_data_sets():
    assert set(BATCH_SHAPES) == set(BASE) == set(CLASSES)
    for dataset, shapes in BATCH_SHAPES.items():
        assert shapes[0] == (BASE[dataset]["ways"], BASE[dataset]["shots"])
        assert len(set(shapes)) == len(shapes) > 1
        for ways, shots in shapes:
            assert ways * shots == BATCH[dataset] and ways <= CLASSES[dataset] and shots >= 2


def test_run_directories_are_named_by_data_set_slug_shape_and_seed():
    ours = cell(4, "SCE⊕NCA", "cub")
    assert configuration(ours).output_dir == "runs/cub/sce_direct_sum_nca/32x4/seed0"
    assert configuration(ours, seed=2, output_root="/a", ways=16, shots=8).output_dir == (
        "/a/cub/sce_direct_sum_nca/16x8/seed2"
    )
    assert configuration(ours, output_dir="mine").output_dir == "mine"


def test_changes_override_the_cell_and_other_data_sets_have_defaults():
    ours = configuration(cell(6, "SCE⊕NCA p=0.3", "glyphs"), seed=4, epochs=3, power=0.2, data_dir="d")
    assert ours == TrainingConfiguration(
        dataset="glyphs",
        integration="spectral_sum",
        power=0.2,
        spectral_interval=1,
        epochs=3,
        seed=4,
        data_dir="d",
        test_classifiers=("nearest_centroid", "laplacian_shot"),
        output_dir="runs/glyphs/sce_spectral_sum_nca_p0.3/64x8/seed4",
    )


def test_names_of_tensorflow_datasets_are_one_folder():
    run = configuration(cell(4, "SCE", "tfds:a_set/config:1.0.0"))
    assert run.output_dir == "runs/tfds_a_set_config_1.0.0/sce/64x8/seed0"


def test_cells_are_hashable_and_do_not_share_their_flags():
    assert len(set(cells())) == len(cells())
    cells(4)[0].flags["metric_loss"] = "proto"
    assert cells(4)[0].flags["metric_loss"] == cells(5)[0].flags["metric_loss"] == "none"
