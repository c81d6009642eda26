"""An estimate of steps of ResNet-12 on many GPUs."""

# Assumed, not measured: of a GPU, floating-point operations a second in the network and in float64; by the number of
# GPUs (one node of 8, or several), bytes a second to its neighbour and seconds a collective.
NETWORK_SPEED, FLOAT64_SPEED = 60e12, 9e12
LINKS = {8: (200e9, 30e-6), 64: (20e9, 100e-6), 512: (20e9, 300e-6)}
# ResNet-12 at 84 pixels: weights, operations of an image's step (three times the forward pass), widths of its 16 layers
# of batch normalisation in all, and d.
WEIGHTS, IMAGE_OPERATIONS, NORMALISED, DIMENSIONS = 12.4e6, 21e9, 4736, 640


def print_model() -> None:
    """Prints a row for each number of GPUs and batch."""
    columns = ("GPUs", "batch", "a GPU", "MB sent", "network ms", "loss ms", "exchange ms", "efficiency")
    print("".join(f"{name:>12}" for name in columns))
    for replicas, (bandwidth, latency) in LINKS.items():
        for batch in (512, 64 * replicas):
            share = (replicas - 1) / replicas
            feature_bytes = 8 * batch * DIMENSIONS
            sent = share * (2 * 4 * WEIGHTS + 3 * feature_bytes + 2 * (3 * 8 + 2 * 4) * NORMALISED)
            compute = batch / replicas * IMAGE_OPERATIONS / NETWORK_SPEED
            loss = 6 * batch / replicas * batch * DIMENSIONS / FLOAT64_SPEED
            # 32 of batch normalisation, and 8 of loss and gradients; nothing of it beside the computation.
            exchange = sent / bandwidth + 40 * latency
            times = [1e3 * seconds for seconds in (compute, loss, exchange)]
            print(
                f"{replicas:12}{batch:12}{batch / replicas:12.0f}{sent / 1e6:12.0f}"
                + "".join(f"{value:12.1f}" for value in times)
                + f"{times[0] / sum(times):12.0%}"
            )
