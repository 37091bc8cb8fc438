"""Whether a graph gives what the module that it was written from gives, on random inputs of other sizes."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from xfm.errors import UserError
from xfm.runtimes.backends import Runner
from xfm.runtimes.graphs import Graph

SIZES = (1, 2, 5)
"""Of open sides, in turn: batches of one are what tracing specialises on."""
CLOSE = 1e-3
"""Most difference of a number from the module's, as a part of the largest of its tensor and one more."""


def random_inputs(graph: Graph, turn: int) -> dict[str, Tensor]:
    """Inputs of a graph with other sizes than it was traced with, the same in the same turn."""
    generator = torch.Generator().manual_seed(turn)
    sides = {name: 0 for axes in graph.axes.values() for name in axes.values()}
    for place, name in enumerate(sides):
        sides[name] = SIZES[(turn + place) % len(SIZES)]
    if "length" in sides:
        sides["length"] = min(graph.longest, (2, 11, 30)[turn % 3])
    if "slots" in sides:
        sides["slots"] = 3 + turn
    found = {}
    for name, tensor in graph.inputs.items():
        shape = [
            sides[graph.axes[name][p]] if p in graph.axes[name] else n for p, n in enumerate(tensor.shape)
        ]
        if tensor.dtype is torch.bool:  # of a ragged batch
            lengths = torch.randint(1, shape[1] + 1, (shape[0], 1), generator=generator)
            lengths[0] = shape[1]
            found[name] = torch.arange(shape[1]) < lengths
        elif tensor.dtype is torch.int64:
            most = sides.get("pictures", sides.get("memories", 1)) if name == "index" else graph.vocabulary
            found[name] = torch.randint(0, most, shape, generator=generator)
        else:
            found[name] = torch.randn(shape, generator=generator)
    return found


@torch.no_grad()
def differences_of(graph: Graph, run: Runner, turn: int) -> Iterator[tuple[str, float]]:
    """For each output how far a runner is from the module, as a part of the module's largest number."""
    inputs = random_inputs(graph, turn)
    wanted = graph.module(*inputs.values())
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    found = run(inputs)
    for name, tensor in zip(graph.outputs, wanted, strict=True):
        if found[name].shape != tensor.shape:
            yield name, float("inf")
            continue
        real = _real(tensor, inputs)
        apart = (found[name].float() - tensor.float()).abs() * real
        yield name, (apart.max() / (1 + (tensor.abs() * real).max())).item()


def _real(tensor: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    mask = inputs.get("mask")
    if mask is None or tensor.ndim != 3 or tensor.shape[:2] != mask.shape:
        return torch.ones_like(tensor)
    return mask[..., None].expand_as(tensor).float()


def require_parity(graph: Graph, run: Runner, name: str) -> None:
    """Refuse a graph that differs from its module.

    Raises:
        UserError: names the output.
    """
    for turn in range(len(SIZES)):
        for output, apart in differences_of(graph, run, turn):
            if not apart <= CLOSE:
                raise UserError(
                    f"{name}: its {output} differ by {apart:.2g} from those of torch, so that nothing was "
                    "written; try other versions of the libraries, and report this"
                )
