import inspect
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import dsl_tf

PROJECT = pathlib.Path(__file__).parent.parent


def test_importing_the_package_does_not_wait_for_tensorflow():
    script = "import sys, dsl_tf; assert 'tensorflow' not in sys.modules; dsl_tf.losses.NCALoss; dir(dsl_tf)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_subpackages_are_there_and_others_are_not():
    assert dsl_tf.evaluation.nearest_centroid and dsl_tf.models.resnet12 and dsl_tf.training.train
    with pytest.raises(AttributeError, match="nosuch"):
        dsl_tf.nosuch  # noqa: B018


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the sources: building leaves files behind that would get into the next wheel."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("docs", "dsl_tf", "examples", "flags", "tests"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in PROJECT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    return folder


def build(sources, kind):
    """Builds with the setuptools that is installed, without a network, and returns the path of what was built."""
    script = f"import setuptools.build_meta; setuptools.build_meta.build_{kind}('built')"
    subprocess.run([sys.executable, "-c", script], cwd=sources, check=True, capture_output=True)
    (path,) = (sources / "built").glob({"wheel": "*.whl", "sdist": "*.tar.gz"}[kind])
    return path


def test_the_wheel_holds_every_file_of_the_package_and_no_other(sources):
    expected = {path.relative_to(sources).as_posix() for path in (sources / "dsl_tf").rglob("*") if path.is_file()}
    with zipfile.ZipFile(build(sources, "wheel")) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        assert f"\nVersion: {dsl_tf.__version__}\n" in wheel.read(metadata).decode()
        (points,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
        assert wheel.read(points).decode().split() == ["[console_scripts]", "dsl_tf", "=", "dsl_tf.commands:main"]
    assert found == expected
    assert {"dsl_tf/py.typed", "dsl_tf/data/class_splits/cifar_fs.txt"} <= found


def test_the_commands_of_the_readme_work_from_the_source_distribution(sources):
    with tarfile.open(build(sources, "sdist")) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"README.md", "run_train.py", "run_eval.py", "flags/glyphs.flags", "tests/data/test_folder.py"}
    wanted |= {path.relative_to(sources).as_posix() for path in (sources / "dsl_tf").rglob("*") if path.is_file()}
    assert not wanted - found


@pytest.mark.parametrize("name", ["data", "evaluation", "losses", "models", "report", "training"])
def test_public_functions_have_types(name):
    package = getattr(dsl_tf, name)
    functions = {public: getattr(package, public) for public in package.__all__}
    for public, function in functions.items():
        if inspect.isfunction(function):
            signature = inspect.signature(function)
            annotations = [signature.return_annotation, *(p.annotation for p in signature.parameters.values())]
            assert inspect.Signature.empty not in annotations, public
