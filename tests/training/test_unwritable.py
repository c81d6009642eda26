"""Runs on disks that are full or read-only: real ones, small, mounted for the test."""

import json
import subprocess

import pytest

from dsl_tf.errors import UserError
from dsl_tf.training import train
from tests.images import striped_splits, tiny_backbone, tiny_configuration


def mount(options, folder):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    try:
        mounted = mount("size=8m", tmp_path)
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("A disk can be mounted by root alone.")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def run(disk):
    configuration = tiny_configuration(disk / "run", checkpoint_minutes=0)
    return train(configuration, striped_splits(), tiny_backbone())


def refused(disk):
    with pytest.raises(UserError) as error:
        run(disk)
    assert "\n" not in str(error.value) and "--output_dir" in str(error.value)
    return str(error.value)


# kB that are left for a run that needs 240: the first event, a checkpoint, the exported network, the SavedModel.
@pytest.mark.parametrize("room", [8, 70, 128, 170])
def test_on_a_full_disk_a_run_stops_with_one_line_and_goes_on_once_there_is_room(disk, capsys, room):
    mount(f"remount,size={room}k", disk)
    assert "No space left on device" in refused(disk)
    assert not list(disk.rglob(".partial.*")) and not (disk / "run" / ".lock").exists()
    saved = [int(path.name.removeprefix("ckpt-")) for path in (disk / "run").glob("checkpoints/ckpt-*")]
    assert (room < 70) == (not saved)
    # Repeated on the full disk, it loses nothing.
    assert "No space left on device" in refused(disk)
    capsys.readouterr()
    mount("remount,size=8m", disk)
    results = run(disk)
    assert results["steps"] == 8
    if saved:
        assert "Resuming from step" in capsys.readouterr().out
    lines = [json.loads(line) for line in (disk / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8]


def test_a_read_only_disk_is_told_and_a_complete_run_can_be_read_there(disk):
    mount("remount,ro", disk)
    assert "Read-only file system" in refused(disk)
    mount("remount,rw", disk)
    (disk / "run").mkdir()
    mount("remount,ro", disk)
    assert "Read-only file system" in refused(disk)
    mount("remount,rw", disk)
    results = run(disk)
    mount("remount,ro", disk)
    assert run(disk) == json.loads(json.dumps(results))
