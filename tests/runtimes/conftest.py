"""Tiny models exported once a session."""

from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.inference.models import save, tuned
from xfm.cli.main import main
from xfm.config.artifacts import Format
from xfm.models.folder import load_model
from xfm.models.runtimes.writing import export

LIBRARIES = {Format.ONNX: "onnxruntime", Format.ONNX_INT8: "onnxruntime", Format.OPENVINO: "openvino"}

Exported = Callable[..., Path]
Native = Callable[[str | None], Path]


def needs(form: Format) -> None:
    if form in LIBRARIES:
        pytest.importorskip(LIBRARIES[form])
        pytest.importorskip("onnxscript")


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    """The folder of a tiny model, of a fine-tuned one by its task."""
    place = tmp_path_factory.mktemp("native")

    def folder(kind: str | None = None) -> Path:
        path = place / str(kind or "pretrained")
        return path if path.exists() else save(path, tuned(kind))

    return folder


@pytest.fixture(scope="session")
def exported(native: Native, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Such a model exported, once for each format."""
    place = tmp_path_factory.mktemp("exported")

    def folder(form: Format, kind: str | None = None) -> Path:
        needs(form)
        path = place / f"{form.value}-{kind}"
        if not path.exists() and (form, kind) == (Format.ONNX, None):  # as a user does
            with redirect_stdout(said := StringIO()):
                assert main(["export", str(native(None)), str(path), "--format", "onnx"]) == 0
            (place / "said.txt").write_text(said.getvalue())
        elif not path.exists():
            export(load_model(native(kind)), path, form, "tiny")
        return path

    return folder
