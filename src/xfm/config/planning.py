"""What `xfm plan` is asked. Nothing here imports more than the standard library."""

from dataclasses import dataclass

from xfm.config.ranges import check_range

MAX_GPUS = 100_000
"""Above any cluster: a larger number is a slip."""


@dataclass(frozen=True)
class PlanConfig:
    """On what a pre-training is to run.

    Attributes:
        gpus: processes that share it, each with a GPU of its own.
        gpu: its name in the table of published figures, such as h100.
        gpu_memory: memory of one in GB (10^9 bytes; 1000 MiB are 1.049), in place of the table's.
        gpu_tflops: peak of its matrix products in TFLOP/s in the precision of the run, in place of the
            table's.
        share: of that peak which training reaches; waiting for other processes and for data counts as well.
        price: of a GPU an hour; 0 leaves the cost out.
        margin: share of the memory that stays free: for the driver, libraries, what the allocator cannot use.
    """

    gpus: int = 1
    gpu: str = "h100"
    gpu_memory: float = 0.0
    gpu_tflops: float = 0.0
    share: float = 0.35
    price: float = 0.0
    margin: float = 0.1

    def __post_init__(self) -> None:
        check_range("gpus", self.gpus, 1, MAX_GPUS)
        check_range("gpu_memory", self.gpu_memory, 0, 1e6)
        check_range("gpu_tflops", self.gpu_tflops, 0, 1e9)
        check_range("share", self.share, 0.001, 1)
        check_range("price", self.price, 0, 1e9)
        check_range("margin", self.margin, 0, 0.9)
