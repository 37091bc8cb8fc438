"""ONNX files, run by ONNX Runtime."""

import logging
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xfm.runtimes.backends import Runner
from xfm.runtimes.graphs import Graph
from xfm.runtimes.torch_export import traced

LARGEST = 1 << 30
"""Bytes of weights from which they lie in a file of their own: an ONNX file may have 2 GB."""


class OnnxRuntime:
    """Writes ONNX by torch's exporter, and runs it."""

    def write(self, graph: Graph, path: Path) -> None:
        """See `Runtime`."""
        weights = sum(tensor.nbytes for tensor in graph.module.state_dict().values())
        quiet = logging.getLogger("torch.onnx")
        level = quiet.level
        quiet.setLevel(logging.ERROR)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    traced(graph),
                    graph.arguments(),
                    path,
                    input_names=[*graph.inputs],
                    output_names=[*graph.outputs],
                    external_data=weights > LARGEST,
                    verbose=False,
                )
        finally:
            quiet.setLevel(level)

    def open(self, path: Path, half: bool = False) -> Runner:
        """See `Runtime`; as many threads as torch has."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        return OnnxSession(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))

    def versions(self) -> tuple[str, ...]:
        """See `Runtime`."""
        return tuple(f"{name} {version(name)}" for name in ("torch", "onnx", "onnxruntime"))


class OnnxSession:
    """A session of ONNX Runtime."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [one.name for one in session.get_outputs()]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Runner`."""
        given = {name: tensor.detach().contiguous().numpy() for name, tensor in inputs.items()}
        found = self._session.run(None, given)
        return {name: torch.from_numpy(array) for name, array in zip(self._names, found, strict=True)}


RUNTIME = OnnxRuntime()
