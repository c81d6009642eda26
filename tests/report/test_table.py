from dsl_tf.report import accuracy_table

ENTRY = {
    "split": "test",
    "classifier": "nearest_centroid",
    "feature_transform": "l2",
    "ways": 5,
    "shots": 1,
    "queries": 15,
    "episodes": 10_000,
    "seed": 0,
    "accuracy": 0.65156,
    "half_width": 0.00204,
}


def test_accuracies_stand_in_percent_under_their_shots():
    entries = [
        ENTRY,
        {**ENTRY, "shots": 5, "accuracy": 0.8189, "half_width": 0.0015},
        {**ENTRY, "feature_transform": "none", "shots": 5, "accuracy": 0.5, "half_width": 0.001},
    ]
    header, rule, first, second = accuracy_table(entries).splitlines()
    assert first.split()[-6:] == ["65.16", "±", "0.20", "81.89", "±", "0.15"]
    assert header.index("5-way 1-shot (%)") == first.index("65.16") == rule.rindex("  ", 0, first.index("65.16")) + 2
    # A cell that was not measured stays empty, and does not move its neighbour.
    assert second.index("50.00") == first.index("81.89") == header.index("5-way 5-shot (%)")
