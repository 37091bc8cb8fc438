"""The plan of a preparation: the pieces of the corpus, one a shard, in a fixed order."""

from dataclasses import dataclass
from pathlib import Path

from xfm.corpora.evaluation import Evaluated, evaluated
from xfm.corpora.preparation import Preparation
from xfm.corpora.source_record import CorpusReader, Piece
from xfm.executors.sharded_map import PLAN, find_plan

_LISTINGS, _EVALUATED = "listings", "evaluated.json"


@dataclass(frozen=True)
class PreparationPlan:
    """What is to be done; small, and can be pickled.

    Attributes:
        preparation: what was asked.
        pieces: of the corpus; a unit of work is the number of one.
    """

    preparation: Preparation
    pieces: tuple[Piece, ...]

    @property
    def listings(self) -> Path:
        """The folder of what a reader has listed."""
        return self.preparation.work / PLAN / _LISTINGS

    def evaluated(self) -> Evaluated:
        """The pictures of evaluations."""
        return Evaluated.load(self.preparation.work / PLAN / _EVALUATED)


def plan_of(preparation: Preparation, reader: CorpusReader, mark: str) -> PreparationPlan:
    """The plan of a preparation, found or made.

    Raises:
        UserError: one of other settings or inputs is under way there, or the corpus is damaged.
    """

    def make(draft: Path) -> dict[str, list[Piece]]:
        if preparation.config.evaluation:
            evaluated(preparation.config.evaluation).save(draft / _EVALUATED)
        return {"pieces": [*reader.pieces(draft / _LISTINGS)]}

    plan = find_plan(preparation.work, mark, make, "begin anew with --force")
    return PreparationPlan(preparation, tuple(Piece(*piece) for piece in plan["pieces"]))
