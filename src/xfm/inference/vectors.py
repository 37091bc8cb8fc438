"""Vectors of many texts and pictures: each distinct one is computed once, texts of a length together."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor
from tqdm import tqdm

from xfm.errors import UserError
from xfm.inference.batches import cut
from xfm.inference.items import InputError, Item, by_field, warned_once
from xfm.inference.matching import Embed
from xfm.inference.picture_inputs import Picture, PictureReader
from xfm.modeling.artifacts import model_pixels

MANY = 256
"""Inputs from which encoding them has a bar."""

Part = tuple[list[int], Tensor]
"""Rows, and a vector for each of them."""


def encode_rows(pipe: Embed, given: Iterable[object], normalised: bool, progress: bool | None) -> Tensor:
    """[N, E] float32 vectors of N inputs of the pipeline `embed`, in their order, on the model's device.

    Args:
        pipe: the pipeline, by whose rules inputs are read.
        given: the inputs; texts and pictures may stand in one list, their vectors share a space.
        normalised: unit vectors; otherwise the projections as they come.
        progress: whether a bar is shown; None shows one of `MANY` inputs or more, on a terminal.

    Raises:
        InputError: an input cannot be used. What is neither text nor picture is found before anything is
            computed, a picture that cannot be read when it is its turn.
    """
    rows = list(given)
    texts, pictures = _sorted_out(pipe, rows)
    same: dict[int, int] = {}  # rows that hold what stood before, and where it did
    found = torch.zeros(len(rows), pipe.engine.model.config.vector_width, device=pipe.engine.device)
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
    partial, first, waiting = warned_once(), dict[bytes, int](), dict[int, Picture]()
    for window in pipe.windows(pictures.values()):
        for number, item in window:
            row = numbers[number]
            picture = _picture(row, item)
            if picture.flaw is not None:
                partial(row, picture.flaw)
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
