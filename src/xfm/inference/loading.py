"""`xfm.load`: a model with its files, its vectors, similarities and matches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from xfm.config.pipelines import UrlRules
from xfm.config.task_spec import Field, FieldKind
from xfm.config.tasks import EMBED
from xfm.core.errors import UserError
from xfm.inference.engine import cut
from xfm.inference.input_parsing import InputError, Item, Picture, PictureReader, by_field
from xfm.inference.inputs import sort_out
from xfm.inference.matching import Embed
from xfm.inference.pipeline import pipeline
from xfm.models.artifacts import model_pixels
from xfm.models.folder import Pretrained
from xfm.models.interop import loading

MANY = 256
"""Inputs from which encoding them has a bar."""

Part = tuple[list[int], Tensor]
"""Rows, and a vector for each of them."""


def encode_rows(pipe: Embed, given: Iterable[object], normalised: bool, progress: bool | None) -> Tensor:
    """Vectors [N, E] float32 of inputs of the pipeline `embed`, in order, on the model's device.

    A bar is shown of `MANY` inputs or more on a terminal, unless `progress` says. InputError: what is neither
    text nor picture, before anything is computed; an unreadable picture, at its turn.
    """
    rows = list(given)
    texts, pictures = _sorted_out(pipe, rows)
    same: dict[int, int] = {}  # rows that hold what stood before, and where it did
    found = torch.zeros(len(rows), pipe.engine.model.config.projection, device=pipe.engine.device)
    disable = (len(rows) < MANY or None) if progress is None else not progress  # None: where nobody looks
    parts = chain(_of_texts(pipe, texts, normalised, same), _of_pictures(pipe, pictures, normalised, same))
    with tqdm(total=len(rows), desc="encoding", unit="input", disable=disable) as bar:
        for places, vectors in parts:
            found[places] = vectors
            bar.update(len(places))
        if same:
            found[list(same)] = found[list(same.values())]
            bar.update(len(same))
    return found


def _sorted_out(pipe: Embed, rows: Sequence[object]) -> tuple[dict[int, str], dict[int, object]]:
    reader = PictureReader(pipe.engine.pretrained.preprocessing, pipe.engine.urls)
    texts: dict[int, str] = {}
    pictures: dict[int, object] = {}
    for row, given in enumerate(rows):
        try:
            if [*by_field(given, pipe.spec.inputs)] == ["image"]:
                pictures[row] = given
            else:
                texts[row] = pipe.read(given, reader).texts[0]
        except UserError as error:
            raise InputError(row, str(error)) from error
    return texts, pictures


def _of_texts(pipe: Embed, texts: dict[int, str], normalised: bool, same: dict[int, int]) -> Iterator[Part]:
    first: dict[str, int] = {}
    for row, text in texts.items():
        if first.setdefault(text, row) != row:
            same[row] = first[text]
    order = sorted(first, key=len, reverse=True)
    engine = pipe.engine
    for start in range(0, len(order), engine.batch_size):
        part = order[start : start + engine.batch_size]
        tokens = pipe.tokenise([(text,) for text in part])
        assert tokens is not None
        tokens = cut(tokens, range(len(part)), engine.longest).to(engine.device)
        with torch.inference_mode(), engine.arithmetic():
            encode = engine.model.embed_text if normalised else engine.model.text_vectors
            vectors = encode(tokens.ids, tokens.mask).float()
        yield [first[text] for text in part], vectors


def _of_pictures(
    pipe: Embed, pictures: dict[int, object], normalised: bool, same: dict[int, int]
) -> Iterator[Part]:
    if pictures:
        pipe.warn_of_pictures()
    numbers, size = list(pictures), pipe.engine.batch_size
    first, waiting = dict[bytes, int](), dict[int, Picture]()
    for window in pipe.windows(pictures.values()):
        for number, item in window:
            row = numbers[number]
            picture = _picture(row, item)
            if first.setdefault(picture.key, row) != row:
                same[row] = first[picture.key]
                continue
            waiting[row] = picture
            if len(waiting) == size:
                yield _encoded(pipe, waiting, normalised)
                waiting = {}
    if waiting:
        yield _encoded(pipe, waiting, normalised)


def _picture(row: int, item: Item | UserError) -> Picture:
    if isinstance(item, UserError):
        raise InputError(row, str(item)) from item
    return item.pictures[0]


@torch.inference_mode()
def _encoded(pipe: Embed, pictures: dict[int, Picture], normalised: bool) -> Part:
    engine, model = pipe.engine, pipe.engine.model
    pixels = torch.stack([picture.pixels for picture in pictures.values()]).to(engine.device)
    with engine.arithmetic():
        slots = model.encode_image(model_pixels(pixels, engine.pretrained.preprocessing))[:, 0]
        vectors = (model.project_image if normalised else model.vision_proj)(slots).float()
    return list(pictures), vectors


_TEXT, _PICTURE = Field("text"), Field("image", holds=FieldKind.PICTURE)


class RunOptions(TypedDict, total=False):
    """How a call is computed, see `xfm.pipeline`."""

    device: str | torch.device | None
    precision: str
    batch_size: int
    allow_urls: bool | Sequence[str] | UrlRules
    readers: int | None


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
        **running: Unpack[RunOptions],
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
            (2, 256)
        """
        vectors, one = self._encoded(inputs, normalised, progress, running)
        return _given_back(vectors[0] if one else vectors, tensors)

    def _encoded(
        self, inputs: Any, normalised: bool, progress: bool | None, running: RunOptions
    ) -> tuple[Tensor, bool]:
        pipe: Any = pipeline("embed", self, **running)
        rows, single, _ = sort_out(inputs, EMBED.inputs)
        try:
            return encode_rows(pipe, rows, normalised, progress), single
        except InputError as error:
            if not single:
                raise
            raise UserError(error.reason) from error

    def similarity(
        self, first: Any, second: Any, *, tensors: bool = False, **running: Unpack[RunOptions]
    ) -> Any:
        """Cosines [N, M] float32 of all of the first with all of the second; a single input has no axis.

        Each is inputs of `encode`, or vectors that it gave, [E] or [N, E]. UserError: an unusable input, or
        vectors of another width.
        """
        rows, row = self._directions(first, "first", running)
        columns, column = self._directions(second, "second", running)
        cosines = rows @ columns.to(rows.device).T  # [N, M]
        cosines = cosines[:, 0] if column else cosines
        return _given_back(cosines[0] if row else cosines, tensors)

    def _directions(self, given: Any, name: str, running: RunOptions) -> tuple[Tensor, bool]:
        vectors = _as_vectors(given)
        if vectors is None:
            return self._encoded(given, True, None, running)
        width = self.model.config.projection
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != width:
            raise UserError(
                f"the {name} are numbers of shape {list(vectors.shape)}, and vectors of this model are "
                f"[{width}] or [N, {width}]; give what its `encode` gave, texts or pictures"
            )
        return F.normalize(vectors.view(-1, width).float(), dim=-1), vectors.ndim == 1

    def match(
        self, texts: Any, pictures: Any, *, tensors: bool = False, **running: Unpack[RunOptions]
    ) -> Any:
        """Probabilities that texts fit pictures, by the matching head; see `Pretrained.match_probability`.

        Text n goes with picture n; one text goes with every picture, one picture with every text. A string
        among the pictures is a path. [N] float32 of N pairs, a number of one text and one picture.
        """
        pipe = pipeline("image-text-matching", self, **running)
        said, shown = sort_out(texts, [_TEXT]), sort_out(pictures, [_PICTURE])
        first, second = list(said.rows), list(shown.rows)
        if said.single and shown.single:
            scores = torch.tensor(pipe({"text": first[0], "image": _bare(second[0])})["score"])
            return _given_back(scores, tensors)
        if not said.single and not shown.single and len(first) != len(second):
            raise UserError(
                f"there are {len(first)} texts, but {len(second)} pictures; give as many of each, or one of "
                "the ones"
            )
        if shown.single and isinstance(second[0], np.ndarray | Tensor | Image.Image):
            second = [PictureReader(self.preprocessing, None).read(second[0]).pixels]  # once, not a text
        first, second = (
            rows * len(others) if side.single else rows
            for side, rows, others in ((said, first, second), (shown, second, first))
        )
        pairs = zip(first, second, strict=True)
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
    return LoadedModel(**vars(found))
