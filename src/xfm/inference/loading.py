"""`xfm.load`: a model with its files, its vectors, similarities and matches."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from xfm.config.task_spec import Field, FieldKind
from xfm.config.tasks import EMBED
from xfm.core.errors import UserError
from xfm.inference.heads import Embed
from xfm.inference.input_parsing import ImageReader, InputError, by_field
from xfm.inference.inputs import sort_out
from xfm.inference.pipeline import pipeline
from xfm.models.folder import Pretrained
from xfm.models.interop import loading

MANY = 256
"""Inputs from which encoding them has a bar."""

_TEXT, _PICTURE = Field("text"), Field("image", holds=FieldKind.PICTURE)


@dataclass(frozen=True)
class LoadedModel(Pretrained):
    """A loaded model with its vectors and matches. Pipelines take it as their model.

    Attributes:
        model, given_tokenizer, preprocessing, provenance, task, calibration, check: see `Pretrained`.
    """

    def encode(
        self,
        inputs: Any,
        *,
        normalised: bool = True,
        tensors: bool = False,
        progress: bool | None = None,
        **running: Any,
    ) -> Any:
        """Vectors of texts and pictures, which share a space: products of unit vectors are cosines.

        Inputs are those of the pipeline `embed`: a bare string is a text, a picture a `Path`, the bytes of a
        file, a PIL picture, a uint8 array or tensor, or `{"image": PATH}`. Equal inputs are computed once.

        Args:
            inputs: one, or a list, column, table or folder; texts and pictures may be mixed.
            normalised: unit vectors; otherwise the raw projections.
            tensors: give a tensor, on the model's device, in place of an array.
            progress: show a bar; by default for 256 inputs or more, on a terminal.
            running: `device`, `precision`, `batch_size`, `allow_urls` and `readers` of `xfm.pipeline`.

        Returns:
            [E] float32 of one input, [N, E] of several, in their order.

        Raises:
            UserError: an unusable input, with its number from 0.

        Example:
            >>> load("small").encode(["a cat", Path("photo.jpg")]).shape
            (2, 128)
        """
        vectors, one = self._encoded(inputs, normalised, progress, running)
        return _given_back(vectors[0] if one else vectors, tensors)

    def _encoded(
        self, inputs: Any, normalised: bool, progress: bool | None, running: dict[str, Any]
    ) -> tuple[Tensor, bool]:
        pipe = pipeline("embed", self, **running)
        assert isinstance(pipe, Embed)
        pipe.normalised = normalised
        given, single, _ = sort_out(inputs, EMBED.inputs)
        rows, places = list(given), dict[str | int, list[int]]()  # equal pictures are the pipeline's
        for place, one in enumerate(rows):
            text = one.get("text") if isinstance(one, Mapping) and len(one) == 1 else one
            places.setdefault(text if isinstance(text, str) else place, []).append(place)
        by_length = sorted(places, key=lambda key: -len(key) if isinstance(key, str) else 1)
        order = [places[key] for key in by_length]
        found = torch.zeros(len(rows), self.model.config.projection)
        disable = (len(rows) < MANY or None) if progress is None else not progress  # None: where nobody looks
        with tqdm(total=len(rows), desc="encoding", unit="input", disable=disable) as bar:
            try:
                for number, vector in pipe.numbered(rows[same[0]] for same in order):
                    found[order[number]] = torch.from_numpy(vector)
                    bar.update(len(order[number]))
            except InputError as error:
                place = order[error.number][0]
                raise (UserError if single else partial(InputError, place))(error.reason) from error
        return found.to(pipe.engine.device), single

    def similarity(self, first: Any, second: Any, *, tensors: bool = False, **running: Any) -> Any:
        """Cosines [N, M] float32 of all of the first with all of the second; a single input has no axis. Each
        is inputs of `encode`, or vectors that it gave, [E] or [N, E]. UserError: an unusable input, or
        vectors of another width."""
        rows, row = self._directions(first, "first", running)
        columns, column = self._directions(second, "second", running)
        cosines = rows @ columns.to(rows.device).T  # [N, M]
        cosines = cosines[:, 0] if column else cosines
        return _given_back(cosines[0] if row else cosines, tensors)

    def _directions(self, given: Any, name: str, running: dict[str, Any]) -> tuple[Tensor, bool]:
        if isinstance(given, list | tuple) and given and all(map(_is_numbers, given)):
            vectors = torch.stack([torch.as_tensor(one).detach() for one in given])
        elif _is_numbers(given):
            vectors = torch.as_tensor(given).detach()
        else:
            return self._encoded(given, True, None, running)
        width = self.model.config.projection
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != width:
            raise UserError(
                f"the {name} are numbers of shape {list(vectors.shape)}, and vectors of this model are "
                f"[{width}] or [N, {width}]; give what its `encode` gave, texts or pictures"
            )
        return F.normalize(vectors.view(-1, width).float(), dim=-1), vectors.ndim == 1

    def match(self, texts: Any, pictures: Any, *, tensors: bool = False, **running: Any) -> Any:
        """Probabilities that texts fit pictures, by the matching head; see `Pretrained.match_probability`.
        Text n goes with picture n; one text goes with every picture, one picture with every text. A string
        among the pictures is a path. [N] float32 of N pairs, a number of one text and one picture."""
        pipe = pipeline("image-text-matching", self, **running)
        said, shown = sort_out(texts, [_TEXT]), sort_out(pictures, [_PICTURE])
        first, second = list(said.rows), list(shown.rows)
        if not said.single and not shown.single and len(first) != len(second):
            raise UserError(f"there are {len(first)} texts, but {len(second)} pictures; give as many of each")
        if shown.single and not said.single and isinstance(second[0], np.ndarray | Tensor | Image.Image):
            second = [ImageReader(self.preprocessing, None).read(second[0]).pixels]  # once, not a text
        first, second = (
            rows * len(others) if side.single else rows
            for side, rows, others in ((said, first, second), (shown, second, first))
        )
        bare = (by_field(picture, [_PICTURE])["image"] for picture in second)
        pairs = [{"text": text, "image": picture} for text, picture in zip(first, bare, strict=True)]
        if said.single and shown.single:
            return _given_back(torch.tensor(pipe(pairs[0])["score"]), tensors)
        return _given_back(torch.tensor([one["score"] for one in pipe(pairs)], dtype=torch.float32), tensors)


def _is_numbers(given: Any) -> bool:
    of_floats = isinstance(given, np.ndarray) and given.dtype.kind == "f"
    return given.is_floating_point() if isinstance(given, Tensor) else of_floats


def _given_back(found: Tensor, tensors: bool) -> Any:
    return found if tensors else found.cpu().numpy() if found.ndim else found.item()


def load(
    path: Path | str,
    *,
    tokenizer: Path | str | None = None,
    recipe: str = "base",
    task: str | None = None,
    heads: int | None = None,
    image_size: int | None = None,
    image_width: int | None = None,
    check: bool = True,
    base: Path | str | None = None,
) -> LoadedModel:
    """Load a model folder, or a published checkpoint (`.th`, `.pt`) without converting it first.

    Args:
        path: folder or file, the name of a model of the package, such as "small", or of a repository of the
            hub, `owner/name` or `owner/name@revision`.
        tokenizer: `tokenizer.json`, or a folder with it or one that transformers reads, such as RoBERTa's; a
            published file has none of its own.
        recipe: gives what a published file does not show, such as dropout.
        task: the fine-tuned task of a published file, where its tensors leave it open.
        heads: attention heads of text and fusion, where neither file nor recipe gives them.
        image_size, image_width: of the pictures, if not the stored size; see `load_model`.
        check: compare the model of a folder with its self-check, see `load_model`.
        base: the model that an adapter is for, if not where it lay.

    Returns:
        The model in evaluation mode on the CPU, with `encode`, `similarity` and `match`; pipelines take it:
            `xfm.pipeline(TASK, model=...)`.

    Raises:
        UserError: missing, damaged or foreign, or an argument is needed that the file does not answer.

    Example:
        >>> load("small").similarity("a cat", ["a dog", Path("photo.jpg")])  # offline, at once
        >>> load("xfm-base.th", tokenizer="roberta-base/").model.embed_image(pixels)
    """
    given = (tokenizer, recipe, task, heads, image_size, image_width, check, base)
    return LoadedModel(**vars(loading.load(path, *given)))
