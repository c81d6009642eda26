"""The package's layout: imports go one way, and the parts for plain arrays bring in nothing else."""

import ast
import pathlib
import subprocess
import sys

import pytest

PROJECT = pathlib.Path(__file__).parent.parent
# What each part may import of the package, beside itself.
FOUNDATION = {"errors", "files", "gpu", "progress", "distribution", "quiet_tensorflow"}
ALLOWED = {
    "errors": set(),
    "gpu": set(),
    "quiet_tensorflow": set(),
    "files": {"errors"},
    "progress": set(),
    "distribution": {"errors"},
    "losses": {"errors", "distribution", "quiet_tensorflow"},
    "models": {"errors", "losses", "distribution", "quiet_tensorflow"},
    "data": FOUNDATION,
    "evaluation": {*FOUNDATION, "losses"},
}
ALLOWED["runs"] = {*ALLOWED}
for part in ("training", "experiments", "report", "commands", "__main__"):
    ALLOWED[part] = {*ALLOWED}
SOURCES = sorted((PROJECT / "dsl_tf").rglob("*.py"))


def module_of(path):
    parts = path.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in SOURCES}


def imports_of(module):
    """Returns the modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from package import module` imports the module, `from module import name` no more than the module.
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in MODULES else node.module for name in named}
    return {name for name in found if name.split(".")[0] == "dsl_tf"}


def part(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


@pytest.mark.parametrize("name", sorted({part(module) for module in MODULES} - {None}))
def test_imports_go_one_way(name):
    assert name in ALLOWED, f"a new part of the package: {name}. Give it a place in the order"
    for module in MODULES:
        if part(module) == name:
            used = {part(imported) for imported in imports_of(module)} - {name, None}
            assert used <= ALLOWED[name], f"{module} imports {sorted(used - ALLOWED[name])}"


def test_no_module_imports_itself_through_others():
    graph = {module: imports_of(module) & set(MODULES) for module in MODULES}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for imported in sorted(graph[module] - {module}):
                visit(imported)
            done.add(path.pop())

    for module in graph:
        visit(module)


def test_private_tensorflow_is_imported_where_it_is_needed():
    for path in SOURCES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith("tensorflow.python")], path


def run(script):
    process = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_losses_and_evaluation_bring_in_no_images_figures_or_data_sets():
    run(
        # TensorFlow and Keras themselves bring in Pillow and Matplotlib where these are installed.
        "import sys, keras, tensorflow; before = set(sys.modules)\n"
        "import dsl_tf.losses, dsl_tf.evaluation; ours = set(sys.modules) - before\n"
        "others = {'PIL', 'matplotlib', 'array_record', 'tensorflow_datasets', 'absl'}\n"
        "parts = ('dsl_tf.data', 'dsl_tf.models', 'dsl_tf.runs', 'dsl_tf.training')\n"
        "wrong = {name for name in ours if name.split('.')[0] in others or name.startswith(parts)}\n"
        "assert not wrong, wrong"
    )


def test_parts_are_there_on_first_use():
    run("import dsl_tf; dsl_tf.experiments.cells; dsl_tf.runs.directory; dsl_tf.training.train")
