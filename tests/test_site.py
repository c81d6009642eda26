"""The documentation's site, where the extra `docs` is installed."""

import ast
import pathlib
import re
import subprocess
import sys
import zlib

import pytest

pytest.importorskip("mkdocs", reason='pip install -e ".[docs]"')
PROJECT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    process = subprocess.run(build, cwd=PROJECT, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder


def public_names():
    """The names that each subpackage of dsl_tf exports, with their paths."""
    for path in sorted((PROJECT / "dsl_tf").rglob("__init__.py")):
        package = ".".join(path.parent.relative_to(PROJECT).parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "__all__":
                yield from (f"{package}.{name}" for name in ast.literal_eval(node.value))


def test_every_public_name_is_in_the_reference(site):
    # Sphinx's format: four lines of text, then one compressed line an object, its name first.
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    documented = {line.split()[0] for line in inventory.splitlines()}
    names = list(public_names())
    assert "dsl_tf.losses.DirectSumLoss" in names
    # A function that has the name of its module is documented below that.
    documented |= {path.rpartition(".")[0] for path in documented if re.search(r"\.(\w+)\.\1$", path)}
    missing = sorted(set(names) - documented)
    assert not missing


def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        # Links to follow may lead elsewhere.
        assert not re.findall(r'<(?!a )\w+[^>]* (?:src|href)="(?:https?:)?//[^>]*>', page.read_text(encoding="utf-8"))
