"""OpenVINO's format, by way of ONNX, run by OpenVINO on the CPU."""

import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.runtimes.backends import Runner
from xfm.runtimes.graphs import Graph
from xfm.runtimes.onnx_runtime import RUNTIME as ONNX


class OpenVino:
    """Writes `.xml` with `.bin`, and runs them."""

    def write(self, graph: Graph, path: Path) -> None:
        """See `Runtime`; weights stay in float32."""
        import openvino

        with tempfile.TemporaryDirectory() as place:
            ONNX.write(graph, Path(place) / "graph.onnx")
            model = openvino.convert_model(Path(place) / "graph.onnx")
            openvino.save_model(model, path, compress_to_fp16=False)

    def open(self, path: Path, half: bool = False) -> Runner:
        """See `Runtime`. The arithmetic is told: by itself OpenVINO takes bfloat16 where that is fast."""
        config = {
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        return Compiled(_core().compile_model(path, "CPU", config))

    def versions(self) -> tuple[str, ...]:
        """See `Runtime`."""
        return tuple(f"{name} {version(name)}" for name in ("torch", "openvino"))


@cache
def _core() -> Any:
    """One for the life of the process.

    Its plugin gives the thread that makes it another stack for signals, where Python's faulthandler has given
    it one, and unmaps that when it goes. Where it goes in another thread, such as at a server's reload, the
    first one is left without, and the next signal ends the process.
    """
    import openvino

    return openvino.Core()


class Compiled:
    """A model that OpenVINO compiled. A request at a time: calls of several threads need a lock of theirs."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._names = [one.get_any_name() for one in compiled.outputs]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Runner`."""
        given = {name: tensor.detach().contiguous().numpy() for name, tensor in inputs.items()}
        found = self._compiled(given)
        arrays = (found[place] for place in range(len(self._names)))
        return {name: torch.from_numpy(a.copy()) for name, a in zip(self._names, arrays, strict=True)}


RUNTIME = OpenVino()
