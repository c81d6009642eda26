import pathlib

import pytest
from absl import flags

from dsl_tf.experiments import BASE, cells, configuration, published
from dsl_tf.experiments.flagfiles import cell_path, flagfile_texts, main
from dsl_tf.runs import flagfiles
from dsl_tf.runs.configuration import TrainingConfiguration

PROJECT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def in_project(monkeypatch):
    monkeypatch.chdir(PROJECT)


def parse(path, *arguments):
    """Parses a flagfile as run_train.py does."""
    values = flags.FlagValues()
    flagfiles.define(TrainingConfiguration, values, module_name="script")
    values(["script", f"--flagfile={path}", *arguments])
    return flagfiles.parse(TrainingConfiguration, values)


def test_the_files_in_flags_are_the_generated_ones():
    there = {
        path.relative_to(PROJECT).as_posix(): path.read_bytes()
        for folder in ("base", "table*")
        for path in PROJECT.glob(f"flags/{folder}/**/*")
        if path.is_file()
    }
    # Write them anew with: python -m dsl_tf.experiments.flagfiles
    assert there == {path: text.encode() for path, text in flagfile_texts().items()}


def test_every_cell_has_a_file_of_its_own():
    assert len({cell_path(cell) for cell in cells() if cell.table != 5}) == len(flagfile_texts()) - len(BASE)
    assert {cell_path(cell) for cell in cells(5)} == {cell_path(cell) for cell in cells(4)}


@pytest.mark.parametrize("table", [3, 4, 5, 6])
def test_a_flagfile_is_the_run_of_its_cell(in_project, table):
    for cell in cells(table):
        assert parse(cell_path(cell)) == configuration(cell), cell


@pytest.mark.parametrize("dataset", BASE)
def test_a_base_flagfile_is_what_the_runs_share(in_project, dataset):
    assert parse(f"flags/base/{dataset}.flags") == TrainingConfiguration(**BASE[dataset])


def test_flags_after_a_flagfile_win(in_project):
    run = parse("flags/table4/cub/sce_sum_nca.flags", "--ways=16", "--shots=8", "--data_dir=d", "--output_dir=o")
    assert (run.dataset, run.ways, run.shots, run.data_dir, run.output_dir) == ("cub", 16, 8, "d", "o")


def test_shared_runs_are_told_once():
    texts = flagfile_texts()
    shared = ["SCE", "NCA", "SCE⊕NCA (ours)", "i-1"]
    for cell in (cell for cell in cells(3) if cell.name in shared):
        lines = [line for line in texts[cell_path(cell)].splitlines() if not line.startswith("# ")]
        assert lines == [f"--flagfile=flags/table4/{cell.dataset}/{cell.slug}.flags"]


def test_comments_say_what_is_reproduced_and_how():
    texts = flagfile_texts()
    for cell in (cell for cell in cells() if cell.table != 5):
        comments = [line for line in texts[cell_path(cell)].splitlines() if line.startswith("# ")]
        assert comments[0].startswith(f"# Table {cell.table}, {cell.name} on ")
        for shots, percent in published(cell.table, cell.dataset, cell.name).items():
            assert f"{percent:.2f}% ({shots}-shot)" in comments[0]
        assert comments[1] == f"# Run: python run_train.py --flagfile={cell_path(cell)} --data_dir=DIR"
        assert comments[2].startswith("# Takes: ")
        assert cell.classifier in comments[3] and all(name in comments[3] for name in cell.feature_transforms)
        assert "python -m dsl_tf.experiments" in comments[-1]


def test_the_generator_writes_below_flags_and_leaves_other_files_alone(tmp_path, monkeypatch):
    (tmp_path / "flags" / "table3").mkdir(parents=True)
    (tmp_path / "flags" / "table3" / "sce.flags").write_text("stale")
    (tmp_path / "flags" / "mine.flags").write_text("mine")
    monkeypatch.chdir(tmp_path)
    main()
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {*flagfile_texts(), "flags/mine.flags"}
    assert (tmp_path / "flags" / "mine.flags").read_text() == "mine"
    for path, text in flagfile_texts().items():
        assert (tmp_path / path).read_bytes() == text.encode()


def test_the_generator_refuses_a_folder_without_flags_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        main()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1 and tmp_path.name in printed.err
    assert not list(tmp_path.iterdir())
