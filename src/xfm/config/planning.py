"""Settings of `xfm plan`, and the GPUs that it knows. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xfm.config.training import Precision
from xfm.config.typed import Limited, limited
from xfm.core.errors import UserError, suggest

MAX_GPUS = 100_000
"""Above any cluster: a larger number is a slip."""


@dataclass(frozen=True)
class PlanConfig(Limited):
    """On what a pre-training is to run.

    Attributes:
        gpus: processes that share it, each with a GPU of its own.
        gpu: its name in the table of published figures, such as h100.
        gpu_memory: memory of one in GB (10^9 bytes; 1000 MiB are 1.049), in place of the table's.
        gpu_tflops: peak of its matrix products in TFLOP/s in the run's precision, in place of the table's.
        share: of that peak which training reaches; waiting for other processes and for data counts as well.
        price: of a GPU an hour; 0 leaves the cost out.
        margin: share of the memory that stays free: for the driver, libraries, what the allocator cannot use.
    """

    gpus: int = limited(1, 1, MAX_GPUS)
    gpu: str = "h100"
    gpu_memory: float = limited(0.0, 0, 1e6)
    gpu_tflops: float = limited(0.0, 0, 1e9)
    share: float = limited(0.35, 0.001, 1)
    price: float = limited(0.0, 0, 1e9)
    margin: float = limited(0.1, 0, 0.9)


# ---- GPUs by name
GB = 10**9
"""Bytes. Makers say GB and mean GiB, 7.4 % more, of which cards keep a part: an H100 of 80 GB has 81,559 MiB,
an L4 of 24 GB has 23,034. At 10^9 bytes no card is taken for larger than it is."""


@dataclass(frozen=True)
class Gpu:
    """Name, memory in GB of 10^9 bytes, and peaks in TFLOP/s of dense products in bfloat16 and float32
    (TF32)."""

    name: str
    memory: float
    bf16: float
    fp32: float

    @property
    def bytes(self) -> float:
        """Its memory in bytes."""
        return self.memory * GB

    def peak(self, precision: Precision) -> float:
        """TFLOP/s in a precision; `auto` is bfloat16, which all of these have."""
        return self.fp32 if precision is Precision.FP32 else self.bf16


GPUS: Mapping[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu("a10", 24, 125, 62.5),
        Gpu("a100", 80, 312, 156),
        Gpu("a100-40gb", 40, 312, 156),
        Gpu("b200", 180, 2250, 1100),
        Gpu("h100", 80, 989, 494),
        Gpu("h100-pcie", 80, 756, 378),
        Gpu("h200", 141, 989, 494),
        Gpu("l4", 24, 121, 60),
        Gpu("l40s", 48, 362, 183),
        Gpu("mi300x", 192, 1307, 653),
        Gpu("rtx4090", 24, 165, 82.6),
    )
}
"""The table: data sheets of NVIDIA and AMD, without sparsity."""


def gpu_of(config: PlanConfig) -> Gpu:
    """The GPU of the name; UserError if it is not known, and memory and peak are not given."""
    known = GPUS.get(config.gpu.lower())
    memory, peak = config.gpu_memory, config.gpu_tflops
    if known is None and not (memory and peak):
        raise UserError(
            f"gpu {config.gpu}: unknown; {suggest(config.gpu, [*GPUS])}; of another one give --gpu-memory "
            "(GB) and --gpu-tflops (the peak of its matrix products)"
        )
    found = known or Gpu(config.gpu, memory, peak, peak)
    if memory and memory != found.memory:
        found = replace(found, memory=memory, name=f"{found.name} of {memory:g} GB")
    if peak and {found.bf16, found.fp32} != {peak}:
        found = replace(found, bf16=peak, fp32=peak, name=f"{found.name} of {peak:g} TFLOP/s")
    return found
