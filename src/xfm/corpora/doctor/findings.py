"""Findings: their effect on training, and the advice."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """Effect of a finding on training, the worst first."""

    LEFT_OUT = "left out"
    HURTS = "hurts"
    NOTE = "worth knowing"


class Finding(StrEnum):
    """A finding; the value is its name in `doctor.json`."""

    RECORD = "unreadable_record"
    PICTURE = "undecodable_picture"
    EMPTY_TEXT = "empty_text"
    NO_LABEL = "missing_label"
    BOX_WRONG = "wrong_box"
    BOX_OUTSIDE = "box_outside"
    BOX_EMPTY = "degenerate_box"
    CUT = "truncated_picture"
    FLAT = "picture_of_one_colour"
    SMALL = "small_picture"
    LONG = "long_picture"
    BOX_TINY = "tiny_box"
    LONG_TEXT = "long_text"
    ONE_CHARACTER = "text_of_one_character"
    NO_LETTERS = "text_without_letters"
    REPEATING = "repeating_text"
    HTML = "html_in_text"
    ENCODING = "wrong_encoding"
    TWICE = "duplicate"
    CONTRADICTION = "contradicting_labels"
    FEW = "class_with_few_rows"
    ALIKE = "looks_like_another"
    COMMON = "common_text"
    BOX_WHOLE = "box_of_the_whole_picture"


@dataclass(frozen=True)
class Explanation:
    """Effect, title and advice of a finding."""

    harm: Severity
    title: str
    advice: str


class Issue(NamedTuple):
    """A finding of a record, its detail, and its badness: the worst cases are shown first."""

    finding: Finding
    detail: str
    badness: float = 0.0


_OUT, _HURTS, _NOTE = Severity.LEFT_OUT, Severity.HURTS, Severity.NOTE
EXPLANATIONS = {
    Finding.RECORD: Explanation(_OUT, "records that cannot be read", "Mend or remove them."),
    Finding.PICTURE: Explanation(_OUT, "pictures that do not decode", "Fetch them again, or remove them."),
    Finding.EMPTY_TEXT: Explanation(_OUT, "empty texts", "Remove the text; a record without any goes, too."),
    Finding.NO_LABEL: Explanation(_OUT, "rows without a label", "Fill in the label, or remove the row."),
    Finding.BOX_WRONG: Explanation(
        _OUT, "boxes that are not four numbers", "A box is [left, top, width, height]."
    ),
    Finding.BOX_OUTSIDE: Explanation(
        _OUT, "boxes outside their picture", "Is the format right? `xfm prepare` clips what sticks out."
    ),
    Finding.BOX_EMPTY: Explanation(_OUT, "boxes without area", "Remove them."),
    Finding.CUT: Explanation(
        _HURTS, "pictures that end early", "Training uses the part that is there: fetch them again."
    ),
    Finding.FLAT: Explanation(
        _HURTS, "pictures of one colour", "They show nothing: often what a site sends in place of a picture."
    ),
    Finding.SMALL: Explanation(_HURTS, "small pictures", "`xfm prepare --min-side` leaves them out."),
    Finding.LONG: Explanation(
        _HURTS, "long or wide pictures", "Banners, mostly: `xfm prepare --max-aspect` leaves them out."
    ),
    Finding.BOX_TINY: Explanation(_HURTS, "boxes of less than two pixels", "Nothing can be seen there."),
    Finding.LONG_TEXT: Explanation(_HURTS, "texts that are too long", "Their ends are never read."),
    Finding.ONE_CHARACTER: Explanation(_HURTS, "texts of one character", "They say nothing."),
    Finding.NO_LETTERS: Explanation(_HURTS, "texts without letters", "Numbers and file names, mostly."),
    Finding.REPEATING: Explanation(_HURTS, "texts that repeat themselves", "Remove them."),
    Finding.HTML: Explanation(_HURTS, "texts with HTML", "Take out tags and entities."),
    Finding.ENCODING: Explanation(
        _HURTS, "texts whose encoding went wrong", "They were read as another encoding: convert them anew."
    ),
    Finding.TWICE: Explanation(
        _HURTS, "duplicates", "`xfm prepare --duplicates exact` keeps the first; keep them in one split."
    ),
    Finding.CONTRADICTION: Explanation(
        _HURTS, "rows with the input of another and another label", "One of the two is wrong."
    ),
    Finding.FEW: Explanation(_HURTS, "classes with few rows", "Collect more, or put classes together."),
    Finding.ALIKE: Explanation(
        _NOTE, "pictures that look like another", "`xfm prepare --duplicates alike` keeps the first."
    ),
    Finding.COMMON: Explanation(
        _NOTE, "records with a text that many have", "Boilerplate? It teaches little, and is a poor caption."
    ),
    Finding.BOX_WHOLE: Explanation(_NOTE, "boxes of the whole picture", "Should the phrase be a caption?"),
}
"""Of every finding, the worst first: the order of the page."""
