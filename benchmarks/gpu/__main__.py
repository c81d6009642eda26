"""Checks and times this package on one GPU, and prints a Markdown table. It is made to take under 8 minutes.

Each part runs in a process of its own, because precision, memory and TensorFlow's settings belong to a process. A part
that fails or takes too long is listed as such. Without a GPU the shapes are small, and the figures say nothing about
GPUs. PyTorch is compared where it is installed.

Run: python -m benchmarks.gpu [--parts=placement,training] [--output=gpu.json]
"""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

# Each part: its function, and what it sets in the environment.
_NORMALIZATION = "TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT"
PARTS: dict[str, tuple[str, dict[str, str]]] = {
    "placement": ("checks.placement", {}),
    "same_loss": ("checks.same_loss", {}),
    "deterministic": ("checks.deterministic", {}),
    "training": ("figures.training", {}),
    "transposing": ("figures.transposing", {_NORMALIZATION: "0"}),
    "compiled": ("figures.compiled", {}),
    "pytorch": ("pytorch.eager", {}),
    "pytorch_compiled": ("pytorch.compiled", {}),
    "losses": ("figures.losses", {}),
    "pipeline": ("figures.pipeline", {}),
    "episodes": ("figures.episodes", {}),
}
_SECONDS_A_PART = 120
_MARKER = "RESULT "


def _run_part(name: str) -> None:
    """Runs a part in this process and prints its result as a JSON line."""
    module, function = PARTS[name][0].split(".")
    if module == "pytorch":
        import torch

        large = torch.cuda.is_available()
    else:
        from dsl_tf import gpu

        gpu.set_up("mixed_bfloat16")
        large = gpu.present()
    from benchmarks.gpu.sizes import ON_CPU, ON_GPU

    result = getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)(ON_GPU if large else ON_CPU)
    print(_MARKER + json.dumps(result))


def part(name: str) -> dict[str, Any]:
    """Runs a part in a process of its own. Returns its result, with `failed` naming what did not hold."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0" if name == "placement" else "3", **PARTS[name][1]}
    command = [sys.executable, "-m", "benchmarks.gpu", f"--run={name}"]
    failed: dict[str, Any] = {"title": name, "columns": ["part", "result"], "failed": [name]}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_SECONDS_A_PART)
    except subprocess.TimeoutExpired:
        return {**failed, "rows": [[name, f"took more than {_SECONDS_A_PART} s"]]}
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARKER)]
    if done.returncode or not lines:
        last = next(
            (line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit code {done.returncode}"
        )
        return {**failed, "rows": [[name, " ".join(last.split())[:300]]]}
    return {"failed": [], **json.loads(lines[-1].removeprefix(_MARKER))}


def _machine() -> dict[str, str]:
    """Returns card, driver and versions, as far as they are known."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        card = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        card = "none: these are a CPU's figures"
    code = (
        "import json, keras, tensorflow as tf, dsl_tf; build = tf.sysconfig.get_build_info(); "
        "print(json.dumps({'dsl_tf': dsl_tf.__version__, 'TensorFlow': tf.__version__, 'Keras': keras.__version__, "
        "'CUDA': build.get('cuda_version', '-'), 'cuDNN': build.get('cudnn_version', '-')}))"
    )
    versions = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
    return {"GPU, driver, memory": card, "Python": platform.python_version(), **versions}


def _markdown(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> int:
    """Prints the tables and writes the JSON file. Returns 1 if a check failed, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts to run, separated by commas")
    parser.add_argument("--output", default="gpu.json", help="JSON file to write")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        _run_part(arguments.run)
        return 0
    names = arguments.parts.split(",")
    if unknown := sorted(set(names) - set(PARTS)):
        parser.error(f"--parts must be of {', '.join(PARTS)}. Received: {', '.join(unknown)}")
    machine = _machine()
    print(_markdown(["machine", ""], [[name, value] for name, value in machine.items()]), flush=True)
    results = {}
    for name in names:
        if name.startswith("pytorch") and importlib.util.find_spec("torch") is None:
            print("\nPyTorch is not installed: no comparison.")
            continue
        results[name] = part(name)
        print(f"\n**{results[name]['title']}**\n", flush=True)
        print(_markdown(results[name]["columns"], results[name]["rows"]), flush=True)
    pathlib.Path(arguments.output).write_text(json.dumps({"machine": machine, "parts": results}, indent=1) + "\n")
    failed = [what for result in results.values() for what in result["failed"]]
    print(f"\nWrote {arguments.output}. " + (f"FAILED: {'; '.join(failed)}" if failed else "All checks hold."))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
