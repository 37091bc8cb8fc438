"""The plan of a preparation: the pieces of the corpus, one a shard, in a fixed order.

Every process that works on it finds it, or makes the same one: it follows from the inputs and the settings
    alone. It
is a folder that appears whole, so that several may make it at a time, on several machines.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xfm.corpora.evaluation import Evaluated, evaluated
from xfm.corpora.preparation import Preparation
from xfm.corpora.source_record import CorpusReader, Piece
from xfm.engines.whole import found_or_made
from xfm.errors import UserError
from xfm.files import MAX_LOG, read_text, write_text, writing

_PLAN, _LISTINGS, EVALUATED = "plan.json", "listings", "evaluated.json"


@dataclass(frozen=True)
class PreparationPlan:
    """What is to be done.

    Attributes:
        folder: of the plan.
        mark: of settings and inputs, see `Preparation.mark`.
        pieces: of the corpus; a unit of work is the number of one.
    """

    folder: Path
    mark: str
    pieces: tuple[Piece, ...]

    @property
    def listings(self) -> Path:
        """The folder of what a reader has listed."""
        return self.folder / _LISTINGS

    @classmethod
    def load(cls, work: Path) -> "PreparationPlan | None":
        """The plan that lies in a folder of work; None where there is none."""
        folder = work / "plan"
        try:
            plain = json.loads(read_text(folder / _PLAN, MAX_LOG))
            return cls(folder, plain["mark"], tuple(Piece(*piece) for piece in plain["pieces"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / _PLAN} is damaged ({error}); begin anew with --force") from None


def find_plan(preparation: Preparation, reader: CorpusReader, mark: str) -> PreparationPlan:
    """The plan of a preparation, found or made.

    Raises:
        UserError: one of other settings or inputs is under way there, or the corpus is damaged.
    """
    work = preparation.work
    found = PreparationPlan.load(work)
    if found is None:
        with writing(work, "and run the command again"):
            found_or_made(work / "plan", partial(_make, preparation, reader, mark))
        found = PreparationPlan.load(work)
        assert found is not None
    if found.mark != mark:
        raise UserError(
            f"{work} holds what was prepared so far for {preparation.target}, with other settings or of "
            "other files: finish that, or throw it away with --force"
        )
    return found


def _make(preparation: Preparation, reader: CorpusReader, mark: str, draft: Path) -> None:
    if preparation.config.evaluation:
        evaluated(preparation.config.evaluation).save(draft / EVALUATED)
    pieces = [list(piece) for piece in reader.pieces(draft / _LISTINGS)]
    write_text(draft / _PLAN, json.dumps({"mark": mark, "pieces": pieces}))


def load_evaluated(plan: PreparationPlan) -> Evaluated:
    """The pictures of evaluations."""
    return Evaluated.load(plan.folder / EVALUATED)
