"""A task on a tiny model, as its tests want it."""

from dataclasses import replace

from xfm.config.training import Precision
from xfm.tasks.base import TaskSettings
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import LabelledText, SplitRows

COLOURS = ("red", "green", "blue", "yellow")
SINGLE = [LabelledText(f"a {a} square left of a {b} square", a) for a in COLOURS for b in COLOURS if a != b]
PAIRS = [
    LabelledText(f"a {a} square", str(a in ("red", "blue")).lower(), f"{b} square")
    for a in COLOURS
    for b in COLOURS
]
SETTINGS = TaskSettings(batch_size=8, precision=Precision.FP32)


def build(kind, pretrained, rows, labels=(), **settings):
    """The task with these training rows."""
    pictures = TaskImages(pretrained.preprocessing)
    return kind(pretrained, pictures, SplitRows(rows, labels=labels), replace(SETTINGS, **settings))
