"""`xfm.load`: a model with its files, and what one asks of it most: vectors, similarities, matches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from xfm.config.pipelines import UrlRules
from xfm.config.task_spec import Field, Holds
from xfm.config.tasks import EMBED
from xfm.errors import UserError
from xfm.inference.given import One, sort_out
from xfm.inference.items import InputError, by_field
from xfm.inference.picture_inputs import PictureReader
from xfm.inference.pipeline import pipeline
from xfm.inference.vectors import encode_rows
from xfm.interop import loading
from xfm.modeling.folder import Pretrained

_TEXT, _PICTURE = Field("text"), Field("image", holds=Holds.PICTURE)


class Running(TypedDict, total=False):
    """How a call is computed, see `xfm.pipeline`."""

    device: str | torch.device | None
    precision: str
    batch_size: int
    allow_urls: bool | Sequence[str] | UrlRules
    readers: int | None


@dataclass(frozen=True)
class Loaded(Pretrained):
    """A loaded model: what belongs together, and its vectors and matches. Pipelines take it as their model.

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
        **running: Unpack[Running],
    ) -> Any:
        """Vectors of texts and pictures, which share a space: the products of unit vectors are cosines.

        They are those of the pipeline `embed`, whose inputs these are: a bare string is a text, a picture is
        a `Path`, the bytes of a file, a PIL picture, a uint8 array or tensor, or `{"image": PATH}`. Texts of
        like length are computed together, and what comes several times once.

        Args:
            inputs: one, or a list, column, table or folder of them; texts and pictures may stand in one list.
            normalised: unit vectors; otherwise the projections as they come.
            tensors: give a tensor, on the model's device, in place of an array.
            progress: show a bar; if not given, one is shown of 256 inputs or more, on a terminal.
            running: `device`, `precision`, `batch_size`, `allow_urls` and `readers` of `xfm.pipeline`.

        Returns:
            [E] float32 of one input, [N, E] of several, in their order.

        Raises:
            UserError: an input cannot be used; names its number, from 0.

        Example:
            >>> load("small").encode(["a cat", Path("photo.jpg")]).shape
            (2, 256)
        """
        vectors, one = self._encoded(inputs, normalised, progress, running)
        return _given_back(vectors[0] if one else vectors, tensors)

    def _encoded(
        self, inputs: Any, normalised: bool, progress: bool | None, running: Running
    ) -> tuple[Tensor, bool]:
        pipe: Any = pipeline("embed", self, **running)
        match sort_out(inputs, EMBED.inputs):
            case One(value):
                try:
                    return encode_rows(pipe, [value], normalised, progress), True
                except InputError as error:
                    raise UserError(error.reason) from error
            case several:
                return encode_rows(pipe, several.rows, normalised, progress), False

    def similarity(
        self, first: Any, second: Any, *, tensors: bool = False, **running: Unpack[Running]
    ) -> Any:
        """Cosines of every one of the first with every one of the second.

        Args:
            first, second: inputs of `encode`, or vectors that it gave: [E] or [N, E].
            tensors: give a tensor in place of an array.
            running: as for `encode`.

        Returns:
            [N, M] float32; where one input was given in place of several, without its axis.

        Raises:
            UserError: an input cannot be used, or vectors are of another model.
        """
        rows, row = self._directions(first, "first", running)
        columns, column = self._directions(second, "second", running)
        cosines = rows @ columns.to(rows.device).T  # [N, M]
        cosines = cosines[:, 0] if column else cosines
        return _given_back(cosines[0] if row else cosines, tensors)

    def _directions(self, given: Any, name: str, running: Running) -> tuple[Tensor, bool]:
        """[N, E] unit vectors of inputs, or of vectors, and whether it was one."""
        vectors = _as_vectors(given)
        if vectors is None:
            return self._encoded(given, True, None, running)
        width = self.model.config.vector_width
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != width:
            raise UserError(
                f"the {name} are numbers of shape {list(vectors.shape)}, and vectors of this model are "
                f"[{width}] or [N, {width}]; give what its `encode` gave, texts or pictures"
            )
        return F.normalize(vectors.view(-1, width).float(), dim=-1), vectors.ndim == 1

    def match(self, texts: Any, pictures: Any, *, tensors: bool = False, **running: Unpack[Running]) -> Any:
        """Probabilities that texts fit pictures, by the matching head; see `Pretrained.match_probability`.

        Text n goes with picture n; one text goes with every picture, one picture with every text. A picture
        is encoded once, however many texts are asked about it.

        Args:
            texts: one or a list.
            pictures: one or a list, as `encode` takes them, except that a string is a path.
            tensors: give a tensor in place of an array.
            running: as for `encode`.

        Returns:
            [N] float32 of N pairs; of one text and one picture a number.

        Raises:
            UserError: an input cannot be used, or there are more of the ones than of the others.
        """
        pipe = pipeline("image-text-matching", self, **running)
        said, shown = sort_out(texts, [_TEXT]), sort_out(pictures, [_PICTURE])
        if isinstance(said, One) and isinstance(shown, One):
            scores = torch.tensor(pipe({"text": said.value, "image": _bare(shown.value)})["score"])
            return _given_back(scores, tensors)
        sides = [None if isinstance(side, One) else list(side.rows) for side in (said, shown)]
        counts = {len(side) for side in sides if side is not None}
        if len(counts) > 1:
            most = " texts, but ".join(str(len(side)) for side in sides if side is not None)
            raise UserError(f"there are {most} pictures; give as many of each, or one of the ones")
        (count,) = counts
        if isinstance(shown, One) and isinstance(shown.value, np.ndarray | Tensor | Image.Image):
            squashed = PictureReader(self.preprocessing, None).read(shown.value).pixels  # once, not a text
            shown = One(squashed)
        first, second = (
            [side.value] * count if isinstance(side, One) else rows
            for side, rows in zip((said, shown), sides, strict=True)
        )
        pairs = zip(first or [], second or [], strict=True)
        found = pipe([{"text": text, "image": _bare(picture)} for text, picture in pairs])
        return _given_back(torch.tensor([one["score"] for one in found], dtype=torch.float32), tensors)


def _bare(picture: Any) -> Any:
    return by_field(picture, [_PICTURE])["image"]


def _as_vectors(given: Any) -> Tensor | None:
    if isinstance(given, list | tuple) and given and all(_is_numbers(one) for one in given):
        return torch.stack([torch.as_tensor(one).detach() for one in given])
    return torch.as_tensor(given).detach() if _is_numbers(given) else None


def _is_numbers(given: Any) -> bool:
    if isinstance(given, Tensor):
        return given.is_floating_point()
    return isinstance(given, np.ndarray) and given.dtype.kind == "f"


def _given_back(found: Tensor, tensors: bool) -> Any:
    if tensors:
        return found
    return found.cpu().numpy() if found.ndim else found.item()


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
) -> Loaded:
    """Load a model folder, or a published checkpoint (`.th`, `.pt`) without converting it first.

    `load_model` reads model folders alone, wherever they lie.

    Args:
        path: folder or file, the name of a model that comes with the package, such as "small", or of a
            repository of the hub, `owner/name` or `owner/name@revision`.
        tokenizer: `tokenizer.json`, or a folder with it or with RoBERTa's `vocab.json` and `merges.txt`; a
            published file has none of its own.
        recipe: gives what a published file does not show, such as dropout.
        task: what a published file was fine-tuned for, where its tensors leave it open.
        heads: attention heads of text and fusion, where neither file nor recipe gives them.
        image_size, image_width: of the pictures that the model is to take, if not the stored size; see
            `load_model`.
        check: compare the model of a folder with its self-check, see `load_model`.
        base: where the model lies that an adapter is for, if not where it lay.

    Returns:
        The model in evaluation mode on the CPU, and what belongs to it. It gives vectors (`encode`), their
        `similarity` and matches (`match`), and pipelines take it: `xfm.pipeline(TASK, model=...)`.

    Raises:
        UserError: missing, damaged or foreign, or something must be said that the file does not say.

    Example:
        >>> load("small").similarity("a cat", ["a dog", Path("photo.jpg")])  # offline, at once
        >>> load("xfm-base.th", tokenizer="roberta-base/").model.embed_image(pixels)
    """
    found = loading.load(
        path,
        tokenizer=tokenizer,
        recipe=recipe,
        task=task,
        heads=heads,
        image_size=image_size,
        image_width=image_width,
        check=check,
        base=base,
    )
    return Loaded(**vars(found))
