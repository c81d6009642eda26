import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.training import construction
from dsl_tf.training.checkpoints import Checkpoints
from dsl_tf.training.step import TrainingStep
from tests.images import SIZE, tiny_backbone, tiny_configuration


def new_parts():
    return construction.build(tiny_configuration("unused"), (SIZE, SIZE, 3), 8, 4, tiny_backbone())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def bias(parts):
    return parts.classifier.bias.numpy()[0]


@pytest.fixture
def saved(tmp_path):
    """Five steps whose bias is the step; the second validates best, then the fourth."""
    parts = new_parts()
    checkpoints = Checkpoints(tmp_path, parts, TrainingStep(parts), (1, 5))
    for step in range(1, 6):
        parts.classifier.bias.assign(np.full(8, step, np.float32))
        checkpoints.step.assign(step)
        if step in (2, 4):
            checkpoints.save_best({1: step / 10, 5: step / 10})
        checkpoints.save()
    return tmp_path


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def unlink(path):
    path.unlink()


def garble(path):
    path.write_text('{"files": {"variables.index": 5}}')


def empty(path):
    path.write_text('{"files": {}}')


DAMAGES = [
    (truncate, "variables.data-00000-of-00001", "must have"),
    (flip_a_bit, "variables.data-00000-of-00001", "SHA-256"),
    (flip_a_bit, "variables.index", "SHA-256"),
    (unlink, "variables.index", "variables.index: No such file"),
    (unlink, "manifest.json", "no manifest.json"),
    (truncate, "manifest.json", "manifest.json cannot be read"),
    (garble, "manifest.json", "manifest.json cannot be read"),
    (empty, "manifest.json", "does not list"),
]


def restored(folder):
    parts = new_parts()
    checkpoints = Checkpoints(folder, parts, TrainingStep(parts), (1, 5))
    checkpoints.restore()
    return parts, checkpoints


def test_the_last_three_are_kept_and_the_best_that_they_tell_of(saved):
    assert names(saved / "checkpoints") == ["ckpt-3", "ckpt-4", "ckpt-5"]
    assert names(saved / "best_checkpoint") == ["ckpt-2", "ckpt-4"]
    parts, checkpoints = restored(saved)
    assert int(checkpoints.step) == 5 and bias(parts) == 5
    checkpoints.restore_best()
    assert checkpoints.best() == checkpoints.best(5) == (4, 0.4) and bias(parts) == 4
    for step in (6, 7):
        checkpoints.step.assign(step)
        checkpoints.save()
    assert names(saved / "best_checkpoint") == ["ckpt-4"]


@pytest.mark.parametrize(("damage", "file", "words"), DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_is_used(saved, caplog, damage, file, words):
    damage(saved / "checkpoints" / "ckpt-5" / file)
    damage(saved / "checkpoints" / "ckpt-4" / file)
    parts, checkpoints = restored(saved)
    assert int(checkpoints.step) == 3 and bias(parts) == 3
    assert checkpoints.best() == (2, 0.2)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2 and all(words in warning and "\n" not in warning for warning in warnings)
    assert "ckpt-5" in warnings[0] and "ckpt-4" in warnings[1]
    checkpoints.restore_best()
    assert bias(parts) == 2
    checkpoints.step.assign(4)
    checkpoints.save()
    # The damaged one that lies ahead would be the first to be tried the next time.
    assert names(saved / "checkpoints") == ["ckpt-3", "ckpt-4"]
    assert int(restored(saved)[1].step) == 4


@pytest.mark.parametrize(("damage", "file", "words"), DAMAGES)
def test_where_none_is_whole_nothing_starts_anew_and_nothing_changes(saved, damage, file, words):
    for name in ("ckpt-3", "ckpt-4", "ckpt-5"):
        damage(saved / "checkpoints" / name / file)
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="3, all damaged.*remove that folder") as error:
        restored(saved)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("damage", "file", "words"), DAMAGES)
def test_damaged_best_weights_are_told_and_later_ones_take_their_place(saved, caplog, damage, file, words):
    damage(saved / "best_checkpoint" / "ckpt-4" / file)
    parts, checkpoints = restored(saved)
    assert "best weights" in caplog.text and words in caplog.text and len(caplog.records) == 1
    assert checkpoints.best() == checkpoints.best(1) == (0, -1)
    checkpoints.restore_best()
    assert bias(parts) == 5 and len(caplog.records) == 1


def test_best_weights_that_are_gone_at_the_end_leave_the_last_ones(saved, caplog):
    parts, checkpoints = restored(saved)
    shutil.rmtree(saved / "best_checkpoint")
    checkpoints.restore_best()
    assert "it does not exist" in caplog.text
    assert bias(parts) == 5 and checkpoints.best() == (0, -1)


def test_what_a_killed_process_left_half_written_is_no_checkpoint(tmp_path, saved):
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)
    script = (
        "import os, sys; from dsl_tf.files import replacing\n"
        "with replacing(sys.argv[1]) as half: half.mkdir(); (half / 'variables.index').write_text('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "new" / "checkpoints" / "ckpt-1"], check=False)
    (half,) = (tmp_path / "new" / "checkpoints").iterdir()
    _, checkpoints = restored(tmp_path / "new")
    assert int(checkpoints.step) == 0
    checkpoints.step.assign(9)
    checkpoints.save()
    assert names(half.parent) == ["ckpt-9"]


def test_files_of_the_users_own_beside_the_checkpoints_are_kept(saved):
    folder = saved / "checkpoints"
    (folder / "notes.txt").write_text("mine")
    (folder / "ckpt-5 copy").mkdir()
    _, checkpoints = restored(saved)
    checkpoints.step.assign(99)
    checkpoints.save()
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "ckpt-5 copy").is_dir()
    assert (folder / "ckpt-99").is_dir()


def test_checkpoints_of_another_version_are_not_started_over(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "ckpt-8.index").write_text("")
    with pytest.raises(UserError, match=r"ckpt-8\.index.*another version"):
        restored(tmp_path)


def test_each_number_of_shots_has_best_weights_of_its_own(tmp_path):
    parts = new_parts()
    checkpoints = Checkpoints(tmp_path, parts, TrainingStep(parts), (1, 5))
    for step, (one, five) in enumerate([(0.3, 0.5), (0.2, 0.7), (0.2, 0.6), (0.35, 0.52)], start=1):
        parts.classifier.bias.assign(np.full(8, step, np.float32))
        checkpoints.step.assign(step)
        checkpoints.save_best({1: one, 5: five})
        checkpoints.save()
    # The first was the best for 1 shot when checkpoints 2 and 3 were saved.
    assert names(tmp_path / "best_checkpoint") == ["ckpt-1", "ckpt-2", "ckpt-4"]
    parts, checkpoints = restored(tmp_path)
    assert checkpoints.best(1) == (4, 0.35) and checkpoints.best(5) == (2, 0.7)
    assert checkpoints.best() == (2, pytest.approx(0.45))
    for shots, step in ((1, 4), (5, 2), (None, 2)):
        checkpoints.restore_best(shots)
        assert bias(parts) == step
    flip_a_bit(tmp_path / "best_checkpoint" / "ckpt-2" / "variables.index")
    parts, checkpoints = restored(tmp_path)
    assert checkpoints.best(1) == (4, 0.35) and checkpoints.best(5) == checkpoints.best() == (0, -1)


def test_checkpoints_with_one_best_step_are_refused_in_one_line(saved):
    manifest = saved / "checkpoints" / "ckpt-5" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["best_step"] = content.pop("best_steps")[-1]
    manifest.write_text(json.dumps(content))
    with pytest.raises(UserError, match="ckpt-5, which an earlier version") as error:
        restored(saved)
    assert "\n" not in str(error.value)


def test_the_manifest_lists_every_other_file(saved):
    folder = saved / "checkpoints" / "ckpt-5"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["step"] == 5 and manifest["best_steps"] == [4, 4, 4]
    assert {name: entry["bytes"] for name, entry in manifest["files"].items()} == {
        path.name: path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json"
    }
