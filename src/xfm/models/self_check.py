"""Self-check of a model folder: outputs for one text and one image, stored and compared at every load, so
that a change of preprocessing, tokenizer or arithmetic is an error with a name."""

import base64
import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from xfm.config.artifacts import FLOAT32, HALF, INT8, PIXELS, CheckValues, SelfCheck, Tolerance
from xfm.config.model import ModelConfig
from xfm.config.typed import from_plain
from xfm.core.errors import UserError, explained
from xfm.core.files import read_json_object
from xfm.data.images import ImageError, decode
from xfm.data.schema import Tokens
from xfm.models.artifacts import Artifacts, framed, model_pixels
from xfm.models.composition import Backbone
from xfm.models.task_models import Answerer, Captioner, Classifier, HeadInputs, TaskModel, build_task_model
from xfm.models.weights import on_cpu, without_weights

SELF_CHECK = "self_check.json"
TEXT = "A red disc left of two green squares, and stripes (blue) below!"
DIGITS = 6  # of what is stored, after the point
PARTS = 4


def check_image_file() -> bytes:
    """The image of the self-check, as PNG bytes: not square, with edges finer than a model's pixels."""
    picture = Image.new("RGB", (320, 240), (236, 231, 214))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((20, 30, 120, 130), (214, 38, 40))
    for left, top in ((160, 24), (240, 70)):
        pen.rectangle((left, top, left + 60, top + 60), (44, 160, 70))
    for row in range(160, 230, 5):
        pen.line((10, row, 309, row), (30, 70, 190), 2)
    written = io.BytesIO()
    picture.save(written, "png", optimize=True)
    return written.getvalue()


@torch.no_grad()
def measured(model: Backbone, own: Artifacts, check: SelfCheck) -> CheckValues:
    """Outputs of a model in evaluation mode for the text and the image of a check, read as pipelines read
    them; a UserError if the image is damaged."""
    with explained(f"{SELF_CHECK} holds a damaged picture", "copy it again", ValueError, ImageError):
        decoded = decode(base64.b64decode(check.picture, validate=True))
    pixels, here = model_pixels(framed(decoded, own.preprocessing)[None], own.preprocessing), model.device
    image = model.encode_image(pixels.to(here))
    coarse = _plain(F.adaptive_avg_pool2d(pixels.float(), PARTS))
    found = CheckValues(coarse, _plain(model.project_image(image[:, 0])))
    if own.given_tokenizer is None:
        return replace(found, answer=_answer(own.task, None, image))
    text, longest = own.given_tokenizer.as_caption(check.text), model.config.language.longest
    tokens = own.given_tokenizer.encode_batch([text], longest).to(here)
    states = model.encode_text(tokens.ids, tokens.mask)
    fused = model.fuse(states, tokens.mask, image)
    unmatched, matched = model.match_logits(fused)[0].tolist()
    return replace(
        found,
        tokens=tuple(tokens.ids[0].tolist()),
        text=_plain(model.project_text(states[:, 0])),
        match=round(matched - unmatched, DIGITS) if math.isfinite(matched - unmatched) else math.nan,
        box=_plain(model.boxes(fused)),
        answer=_answer(own.task, tokens, image),
    )


def _answer(task: TaskModel | None, tokens: Tokens | None, image: Tensor) -> tuple[float, ...]:
    """Output of a head of this package; others are not asked."""
    if task is None or type(task).__module__ != TaskModel.__module__:
        return ()
    both = torch.zeros(1, 2, dtype=torch.int64, device=image.device)
    if isinstance(task, Classifier) and (tokens is not None or not task.task.spec.has_texts):
        return _plain(task.classify(HeadInputs(tokens, image, both)))
    if tokens is None or not isinstance(task, Answerer | Captioner):
        return ()
    if isinstance(task, Answerer):
        memory, seen = task.fused(HeadInputs(tokens, image, both)), tokens.mask
    else:
        memory, seen = task.remember(image)
    said = task.decoder(tokens.ids, tokens.mask, memory, seen)[0, :-1].float().log_softmax(-1)  # [T - 1, V]
    return _plain(said.gather(1, tokens.ids[0, 1:, None]))


def _plain(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, DIGITS) for value in values.float().flatten().tolist())


def record(model: Backbone, own: Artifacts) -> SelfCheck | None:
    """Self-check of a model in evaluation mode; None where it gives no finite numbers."""
    picture = base64.b64encode(check_image_file()).decode("ascii")
    check = SelfCheck(TEXT, picture, CheckValues((), ()))
    values = measured(model, own, check)
    numbers = [*values.image, *values.text, *values.box, *values.answer, values.match or 0.0]
    return replace(check, values=values) if all(map(math.isfinite, numbers)) else None


def differences(check: SelfCheck, found: CheckValues, most: Tolerance) -> list[str]:
    """Differences from the saved model as beginnings of sentences, the cause first."""
    kept, told = check.values, []
    if kept.tokens and found.tokens and kept.tokens != found.tokens:
        told.append("its tokenizer makes other tokens of a text (was tokenizer.json changed?)")
    worst = max((abs(a - b) for a, b in zip(kept.pixels, found.pixels, strict=False)), default=0.0)
    if not worst <= PIXELS:
        cause = "(was preprocessor_config.json changed?)"
        told.append(f"its pictures are prepared otherwise, by {worst:.2f} deviations {cause}")
    for what, then, now in (("pictures", kept.image, found.image), ("texts", kept.text, found.text)):
        if then and now:
            one, other = np.array(then), np.array(now)
            norms = max(1e-12, float(np.linalg.norm(one) * np.linalg.norm(other)))
            same = float(one @ other) / norms if len(one) == len(other) else 0.0
            if not same >= most.cosine:
                told.append(f"the vectors of its {what} are others: cosine {same:.4f}, below {most.cosine}")
    part, was, odds = most.odds, kept.match, found.match
    if was is not None and odds is not None and not np.allclose(odds, was, part, part):
        told.append(f"its log-odds of a match are {odds:.3f}, and were {was:.3f}")
    apart = max((abs(a - b) for a, b in zip(kept.box, found.box, strict=False)), default=0.0)
    if not apart <= most.box:
        told.append(f"its box of a phrase is {apart:.3f} of the picture's side from where it was")
    then, now = kept.answer, found.answer
    if then and now and not (len(then) == len(now) and np.allclose(now, then, part, part)):
        told.append("the head of its task answers otherwise")
    return told


def check_of(
    config: ModelConfig, own: Artifacts, state: Mapping[str, Tensor], half: bool
) -> SelfCheck | None:
    """Self-check of tensors to be saved, computed on the CPU by a model that shares them; None, with a
    warning, where the configuration does not build it or its tokenizer does not fit."""
    stored = on_cpu(state)
    if half:
        stored = {n: t.half().float() if t.dtype is torch.float32 else t for n, t in stored.items()}
    try:
        with without_weights():
            model = Backbone(config)
            task = build_task_model(own.task.task, model) if own.task else None
        model.load_state_dict(stored, assign=True)
        if task is not None and own.task is not None:
            task.load_state_dict({**task.state_dict(), **on_cpu(own.task.added_state())}, assign=True)
            task.eval()
        return record(model.eval(), replace(own, task=task))
    except (RuntimeError, IndexError) as error:  # of torch: names, shapes, a vocabulary that is too small
        told = f"saved without a self-check, which cannot be computed: {str(error).splitlines()[0]}"
        warnings.warn(told, stacklevel=2)
        return None


def read_check(path: Path) -> SelfCheck | None:
    """Self-check of a folder; None where it has none."""
    return from_plain(SelfCheck, read_json_object(path), path) if path.exists() else None


def verify(name: object, model: Backbone, own: Artifacts, most: Tolerance = FLOAT32) -> None:
    """A UserError, naming difference and remedy, for a model in evaluation mode whose outputs, in the
    arithmetic of the context, differ by more than `most` from those of its self-check."""
    check = own.check
    if check is None or not (told := differences(check, measured(model, own, check), most)):
        return
    more = f" (and {len(told) - 2} more)" if len(told) > 2 else ""
    how = {HALF: (" in bf16", "run it in float32"), INT8: (" in eight bits", "export it again or in float32")}
    way, mend = how.get(most, ("", f"restore its files, or remove {SELF_CHECK} if the change is meant"))
    raise UserError(
        f"{name} is not{way} what it was when it was saved: {', and '.join(told[:2])}{more}; {mend}"
    )
