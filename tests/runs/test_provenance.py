import subprocess

import pytest
import tensorflow as tf

from dsl_tf.runs import provenance


def git(folder, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "project" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    return folder


def test_the_commit_of_a_checkout_and_whether_it_was_changed(package):
    assert provenance.commit(package) is None
    git(package.parent, "init", "-q")
    assert provenance.commit(package) is None
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-qm", "First")
    git(package.parent, "tag", "v1")
    head = git(package.parent, "rev-parse", "HEAD").strip()
    assert provenance.commit(package) == head and len(head) == 40
    (package / "__init__.py").write_text("changed = True")
    assert provenance.commit(package) == f"{head}-dirty"


def test_a_package_installed_within_somebody_elses_repository_has_no_commit(package):
    git(package.parent, "init", "-q")
    (package.parent / ".gitignore").write_text("package\n")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-qm", "First")
    assert provenance.commit(package) is None


def test_without_git_there_is_no_commit(package, monkeypatch):
    monkeypatch.setenv("PATH", str(package))
    assert provenance.commit(package) is None


def test_the_device_is_named():
    ((name, count),) = provenance.devices(tf.distribute.get_strategy()).items()
    assert name and count == 1
