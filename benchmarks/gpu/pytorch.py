"""The same network in PyTorch: channels last, autocast, with and without its compiler."""

import time
from typing import Any

from benchmarks.gpu.sizes import Size
from benchmarks.training_step import residual_network

_DTYPES = {"float32": None, "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}


def _seconds_a_step(size: Size, precision: str, compile_it: bool) -> tuple[float, str]:
    """Returns the mean duration of a step and the peak memory in MB, a dash without a GPU."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    model = residual_network(size.filters, size.ways).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    forward = torch.compile(model) if compile_it else model
    dtype = _DTYPES[precision]
    scaler = torch.amp.GradScaler(device, enabled=dtype == "float16" and device == "cuda")
    pixels = torch.randint(0, 256, (size.batch, 3, size.image, size.image), dtype=torch.uint8, device=device)
    labels = torch.arange(size.batch, device=device) % size.ways
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def run(count: int) -> None:
        for _ in range(count):
            x = (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, getattr(torch, dtype or "bfloat16"), enabled=dtype is not None):
                logits = forward(x)
            loss = torch.nn.functional.cross_entropy(logits.float(), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        loss.item()

    run(3)
    started = time.perf_counter()
    run(size.steps)
    seconds = (time.perf_counter() - started) / size.steps
    return seconds, f"{torch.cuda.max_memory_allocated() / 2**20:,.0f}" if device == "cuda" else "-"


def _training(size: Size, compile_it: bool, title: str) -> dict[str, Any]:
    rows = []
    for precision in _DTYPES:
        seconds, memory = _seconds_a_step(size, precision, compile_it)
        rows.append([precision, f"{size.batch / seconds:,.0f}", f"{1e3 * seconds:.1f}", memory])
    return {"title": title, "columns": ["ResNet-12, cross-entropy", "images/s", "ms a step", "peak MB"], "rows": rows}


def eager(size: Size) -> dict[str, Any]:
    """PyTorch as it is."""
    return _training(size, False, "PyTorch, channels last, autocast")


def compiled(size: Size) -> dict[str, Any]:
    """PyTorch with torch.compile."""
    return _training(size, True, "PyTorch, channels last, autocast, torch.compile")
