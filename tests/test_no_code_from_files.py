"""No file that a user hands over may bring code that runs, beyond what ruff's S rules see."""

import ast
import pathlib

import pytest

PROJECT = pathlib.Path(__file__).parent.parent
FILES = sorted([*PROJECT.glob("*.py"), *(PROJECT / "dsl_tf").rglob("*.py"), *(PROJECT / "examples").rglob("*.py")])
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "yaml"}
# Each is a way to let saved functions through.
FORBIDDEN_CALLS = {"enable_unsafe_deserialization", "unsafe_load", "extractall", "eval", "exec"}


def faults(source):
    """What in a source may run code from a file, as texts."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"import {alias.name}" for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(f"import {node.module}")
        elif isinstance(node, ast.Call):
            found += _faults_of_call(node)
    return found


def _faults_of_call(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    owner = call.func.value.id if name and isinstance(getattr(call.func, "value", None), ast.Name) else ""
    found = [name] if name in FORBIDDEN_CALLS else []
    if owner in ("np", "numpy") and name == "load" and not _is_false(keywords.get("allow_pickle")):
        found.append("np.load without allow_pickle=False")
    if "allow_pickle" in keywords and not _is_false(keywords["allow_pickle"]):
        found.append("allow_pickle")
    if "safe_mode" in keywords and _is_false(keywords["safe_mode"]):
        found.append("safe_mode=False")
    return found


def _is_false(node):
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_nothing_runs_code_from_a_file(path):
    assert not faults(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import load",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=allowed)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "keras.models.load_model(path, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
        "tar.extractall()",
        "eval(text)",
    ],
)
def test_each_way_is_seen(source):
    assert faults(source)
