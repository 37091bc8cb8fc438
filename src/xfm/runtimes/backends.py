"""What runs a model: torch itself, or a runtime that takes its graphs. One protocol, an entry each."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from torch import Tensor

from xfm.config.exported import Format
from xfm.errors import UserError
from xfm.runtimes.graphs import Graph


class Runner(Protocol):
    """A graph that runs."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name, on the CPU in float32, of inputs by name."""
        ...


class Runtime(Protocol):
    """Writes and runs the graphs of one format. Each is a module of `xfm.runtimes`."""

    def write(self, graph: Graph, path: Path) -> None:
        """Write a graph, whose module is in evaluation mode, with the sides of its `axes` left open."""
        ...

    def open(self, path: Path, half: bool = False) -> Runner:
        """A graph that was written, ready to run; `half` lets it compute in bfloat16 where it can."""
        ...

    def versions(self) -> tuple[str, ...]:
        """What takes part, as `NAME VERSION`."""
        ...


@dataclass(frozen=True)
class Known:
    """A runtime that this package knows.

    Attributes:
        name: by which people ask for it.
        module: that has its `Runtime`, called RUNTIME.
        suffix: of the files of graphs.
        needs: libraries that write, and libraries that run.
        extra: of this package that brings them.
    """

    name: str
    module: str
    suffix: str
    writes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    extra: str = ""

    def load(self, writing: bool = False) -> Runtime:
        """The runtime.

        Raises:
            UserError: a library is missing.
        """
        if missing := [name for name in (self.writes if writing else self.runs) if find_spec(name) is None]:
            raise UserError(
                f"{self.name} needs {missing[0]}, which is not installed: pip install 'xfm[{self.extra}]'"
            )
        return import_module(self.module).RUNTIME


RUNTIMES = {
    Format.ONNX: Known(
        "onnxruntime", "xfm.runtimes.onnx_runtime", ".onnx", ("onnx", "onnxscript"), ("onnxruntime",), "onnx"
    ),
    Format.OPENVINO: Known(
        "openvino",
        "xfm.runtimes.openvino_runtime",
        ".xml",
        ("openvino", "onnx", "onnxscript"),
        ("openvino",),
        "openvino",
    ),
    Format.TORCH_EXPORT: Known("torch-export", "xfm.runtimes.torch_export", ".pt2"),
}
"""Who runs each format."""
