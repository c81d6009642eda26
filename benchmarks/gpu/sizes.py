"""How much the GPU benchmark computes: the paper's shapes on a GPU, small ones on a CPU."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    """The amount of work.

    Args:
        image: height and width in pixels.
        ways, shots: classes and images of each in a batch.
        filters: of ResNet-12.
        steps: timed steps of each measurement.
        compared: steps of the checks.
        episodes: few-shot episodes.
        dimensions: of the features of these episodes.
    """

    image: int
    ways: int
    shots: int
    filters: tuple[int, ...]
    steps: int
    compared: int
    episodes: int
    dimensions: int

    @property
    def batch(self) -> int:
        """The number of images in a batch."""
        return self.ways * self.shots


ON_GPU = Size(84, 64, 8, (64, 160, 320, 640), steps=20, compared=20, episodes=10_000, dimensions=640)
ON_CPU = Size(16, 8, 2, (4, 8, 8, 16), steps=3, compared=20, episodes=200, dimensions=16)
