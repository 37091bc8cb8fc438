"""Graphs of torch.export: what all other formats are made of, and a format of its own."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from xfm.runtimes.backends import Runner
from xfm.runtimes.graphs import MOST, Graph


def traced(graph: Graph) -> ExportedProgram:
    """A graph as torch.export records it, with the sides of its axes left open.

    Without gradients: with one, attention with a learned bias takes the way of training.
    """
    sides = {
        name: Dim(name, min=2, max=graph.longest) if name == "length" else Dim(name, min=1, max=MOST)
        for axes in graph.axes.values()
        for name in axes.values()
    }
    shapes = tuple({place: sides[name] for place, name in graph.axes[one].items()} for one in graph.inputs)
    if not graph.module.__dict__.get("forward") and isinstance(graph.module, torch.nn.Sequential):
        shapes = {"input": shapes[0]}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own parts to one another
        return torch.export.export(
            graph.module.eval(),
            graph.arguments(),
            dynamic_shapes=shapes,
            prefer_deferred_runtime_asserts_over_guards=True,  # the sides are proved by no solver
        )


class TorchExport:
    """Writes and runs `.pt2` files."""

    def write(self, graph: Graph, path: Path) -> None:
        """See `Runtime`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(traced(graph), path, extra_files={"outputs": ",".join(graph.outputs)})

    def open(self, path: Path, half: bool = False) -> Runner:
        """See `Runtime`; the file is read by torch.export.load, which is for files that one trusts."""
        more: dict[str, Any] = {"outputs": ""}
        program = torch.export.load(path, extra_files=more)
        names = str(more["outputs"]).split(",")
        return Exported(program.module(), names)

    def versions(self) -> tuple[str, ...]:
        """See `Runtime`."""
        return (f"torch {torch.__version__}",)


class Exported:
    """A graph of torch.export that runs."""

    def __init__(self, module: torch.nn.Module, names: list[str]) -> None:
        self._module, self._names = module, names

    @torch.no_grad()
    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Runner`."""
        found = self._module(*inputs.values())
        found = found if isinstance(found, tuple | list) else (found,)
        return dict(zip(self._names, found, strict=True))


RUNTIME = TorchExport()
