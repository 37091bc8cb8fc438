"""Every case on this process's share of the batches; test_distributed.py starts it with torchrun.

Usage: ranks_worker.py FOLDER [CASE ...]; `save` writes a run, `resume` goes on with FOLDER/run; `remember`
and `recall` do so with a run of losses that remember pairs. DEVICE is where they run, the CPU if not given.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file

from tests.training.ranks import CASES, REMEMBERED, SAVED, as_numbers, run_case
from xfm.config.training import Strategy
from xfm.training import distributed


def main() -> None:
    folder, *names = Path(sys.argv[1]), *sys.argv[2:]
    with distributed.processes(os.environ.get("DEVICE", "cpu")) as process:
        for name in names:
            kind = name.partition("-")[0]
            saved = REMEMBERED if kind in ("remember", "recall") else SAVED
            saves = kind in ("save", "resume", "remember", "recall")
            strategy = Strategy(name.partition("-")[2]) if saves else None
            case = replace(saved, strategy=strategy) if strategy else CASES[name]
            run = {"remember": "remembered", "recall": "remembered"}.get(kind, "run")
            place = folder / run if saves else None
            resume = kind in ("resume", "recall")
            result, gradients = run_case(
                case, process.rank, process.world, place, resume, device=str(process.device)
            )
            if process.is_first:
                save_file(gradients, folder / f"{name}.safetensors")
                (folder / f"{name}.json").write_text(json.dumps(as_numbers(result)))
        distributed.barrier()


if __name__ == "__main__":
    main()
