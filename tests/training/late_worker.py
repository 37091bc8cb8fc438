"""Two processes of which the second one comes late to a collective; test_faults_ranks.py starts it."""

import sys
import time

import torch

from xfm.core.errors import UserError
from xfm.training import distributed
from xfm.training.collectives import gather_rows
from xfm.training.failures import explaining_failures


def main() -> None:
    try:
        with distributed.processes("cpu", minutes=0.05) as process, explaining_failures(lambda: "saved"):
            if process.rank == 1:
                time.sleep(12)
            gather_rows(torch.ones(2, 3))
    except UserError as error:
        sys.exit(f"xfm: {error}")


if __name__ == "__main__":
    main()
