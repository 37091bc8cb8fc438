"""The numbers at the top of a fine-tuning's report."""

from collections.abc import Sequence
from dataclasses import dataclass

from xfm.finetuning.leaderboard import Contender, Leaderboard, Sort
from xfm.metrics.calibration import Calibration
from xfm.metrics.numbers import percent, points, rough
from xfm.reports.lines import ScoreLine
from xfm.reports.scores import Score

MORE = 2
"""Further metrics beside the primary one."""


@dataclass(frozen=True)
class Card:
    """A number.

    Attributes:
        title, value: the large ones.
        range: 95 % interval in words.
        notes: small lines below.
        line: the score's, for a bar; None for none.
        tone: `up`, `down` or `level`.
    """

    title: str
    value: str
    range: str = ""
    notes: tuple[str, ...] = ()
    line: ScoreLine | None = None
    tone: str = "level"


def cards_of(
    lines: Sequence[ScoreLine], primary: str, board: Leaderboard | None, calibration: Calibration | None
) -> list[Card]:
    """The primary score, the best simple baseline, further scores, and calibration."""
    main = sorted(lines, key=lambda line: not line.key.endswith(f"/{primary}"))[: 1 + MORE]
    cards = [_score(line) for line in main]
    if board:
        rivals = [place for place in board.places if place.sort in (Sort.STRONG, Sort.CONSTANT)]
        cards[1:1] = [_rival(place) for place in rivals[:1]]
    if calibration:
        off = not calibration.low <= calibration.confidence <= calibration.high
        notes = (f"{percent(calibration.confidence, 0)} sure", f"{percent(calibration.accuracy, 0)} right")
        title = "calibration error"
        cards.append(Card(title, percent(calibration.error), "", notes, tone="down" if off else "level"))
    return cards


def _score(line: ScoreLine) -> Card:
    notes = (f"chance {rough(line.score.chance)}", f"{line.score.n:,} cases")
    return Card(line.metric, percent(line.score.value), _ends(line.score), notes, line)


def _ends(shown: Score | Contender) -> str:
    """The interval in words; empty where there is none."""
    if shown.low is None or shown.high is None:
        return ""
    return f"{percent(shown.low)} to {percent(shown.high)}"


def _rival(place: Contender) -> Card:
    notes = [place.name]
    if place.gain_low is not None and place.gain_high is not None:
        ends = f"{points(-place.gain_high)} to {points(-place.gain_low)}"
        notes.append(f"this model: {points(-place.gain)} points ({ends})")
    tone = "level" if not place.shown else "down" if place.gain > 0 else "up"
    return Card("best simple baseline", percent(place.value), _ends(place), tuple(notes), tone=tone)
