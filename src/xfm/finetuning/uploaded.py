"""A finished fine-tuning on the hub: its model folder, and a card with its scores."""

import sys

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError
from xfm.core.processes import is_first_process
from xfm.finetuning.finished import FinetuneResult
from xfm.models.resolve import LOG_IN, hub_library
from xfm.models.xfm import check_repository, push_to_hub


def check_upload(name: str, config: FinetuneConfig) -> None:
    """Look before the training at what is to be uploaded, and where; where no token is there yet, say so.

    Args:
        name: `owner/name`.
        config: of the training.

    Raises:
        UserError: it can be no repository, or what is kept apart would be no model there.
    """
    check_repository(name)
    if config.tune.apart:
        raise UserError(
            f"{name}: push_to_hub uploads a whole model, and tune.apart keeps what was learned apart from "
            "it: leave one of the two out (`xfm export --format merged` makes a whole model of a finished "
            "run, which can be uploaded)"
        )
    if hub_library("models are uploaded").get_token() is None and is_first_process():
        note = f"Note: {name} will need a token when the training has ended, and there is none; {LOG_IN}."
        tqdm.write(note, file=sys.stderr)


def upload(done: FinetuneResult, name: str) -> str:
    """Upload the model of a finished run, into a private repository if there is none yet.

    Args:
        done: the run.
        name: `owner/name`.

    Returns:
        The address of the commit.

    Raises:
        UserError: the hub does not take it; names what stays, and how to upload it later.
    """
    scores = {key: f"{score.value:.4g}" for key, score in done.scores.items()}
    try:
        return push_to_hub(done.model, name, scores=scores, message=f"Fine-tuned: {done.task.spec.name}")
    except UserError as error:
        raise UserError(
            f"{error}; the run is finished and stays as it is: upload its model later in Python with "
            f"xfm.XFM.from_pretrained({str(done.model)!r}).push_to_hub({name!r})"
        ) from error
