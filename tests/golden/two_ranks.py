"""Contrastive gradients of the recorded pairs on two processes; test_two_ranks.py starts it with torchrun.

Usage: two_ranks.py GOLDEN OUT
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.golden.compare import gradients
from tests.golden.recorded import Recorded
from xfm.config.training import LossConfig
from xfm.data.schema import Batch, PairBatch
from xfm.models.gradients import PRETRAINING
from xfm.objectives.global_batch import global_batches_of
from xfm.objectives.text_rows import pair_rows
from xfm.objectives.vision_text import Source, vision_text_losses
from xfm.training import distributed
from xfm.training.collectives import DistributedGroup

ITC_ALONE = LossConfig(itm=0.0, imlm=0.0)


def main() -> None:
    recorded, out = Recorded(Path(sys.argv[1])), Path(sys.argv[2])
    with distributed.processes("cpu") as process:
        everyone = recorded.pair_batch().pair
        assert everyone is not None
        count = len(everyone.pixels)
        own = slice(process.rank * count // process.world, (process.rank + 1) * count // process.world)
        batch: PairBatch = everyone.map(lambda tensor: tensor[own])
        model = recorded.model()
        text = model.encode_text(batch.tokens.ids, batch.tokens.mask)
        pairs = Source("pair", pair_rows(batch, model.encode_image(batch.pixels), text))
        (whole,) = global_batches_of([Batch(0, pair=batch)], DistributedGroup())
        losses = vision_text_losses(model, [pairs], PRETRAINING, ITC_ALONE, torch.Generator(), whole).losses
        losses["pair/itc"].backward()
        for parameter in model.parameters():
            if parameter.grad is not None:
                distributed.mean(parameter.grad)
        loss = distributed.mean(losses["pair/itc"].detach().clone())
        if process.is_first:
            found = {n: g.contiguous() for n, g in gradients(model, recorded.config).items()}
            save_file(found | {"loss": loss}, out)
        distributed.barrier()


if __name__ == "__main__":
    main()
