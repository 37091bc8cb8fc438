"""The published five-layer head, trained on cached features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from xfm.config.linear import HeadConfig
from xfm.config.training import OptimConfig, Precision, Schedule, TrainingConfig
from xfm.data.schema import TensorFields
from xfm.frozen.features import LabelledFeatures, blocks
from xfm.metrics.classification import Array
from xfm.modeling.heads import DeepHead
from xfm.objectives.losses import Losses
from xfm.tasks.labelling import classification_losses
from xfm.tasks.sampling import seeded
from xfm.training.logging import RunLog
from xfm.training.trainer import Trainer


@dataclass(frozen=True)
class FeatureBatch(TensorFields):
    """Features [B, D] float32 and labels [B] int64."""

    features: Tensor
    labels: Tensor


class FeatureHead(nn.Module):
    """The head on [slot 0 ; mean of the patches].

    Args:
        width: Dv.
        classes: C.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.width = width
        self.head = DeepHead(2 * width, classes)

    def forward(self, features: Tensor) -> Tensor:
        """[B, Dv] slot 0 that is the mean of the patches, or [B, 2 Dv] both -> [B, C] logits."""
        return self.head(features.repeat(1, 2) if features.shape[1] == self.width else features)


@dataclass(frozen=True)
class TrainedHead:
    """A trained head.

    Attributes:
        module: in evaluation mode, on the CPU.
        classes: [C] label of each output.
    """

    module: FeatureHead
    classes: Array

    @torch.inference_mode()
    def logits(self, features: Array) -> Tensor:
        """[N, D] -> [N, C] float32."""
        return torch.cat([self.module(_rows(features, rows)) for rows in blocks(len(features))])


def fit_head(
    train_split: LabelledFeatures,
    width: int,
    config: HeadConfig,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = False,
) -> TrainedHead:
    """Train the head on features.

    Args:
        train_split: features [N, Dv] or [N, 2 Dv] and labels of any kind.
        width: Dv.
        config: objective and schedule; a batch size of 0 is full-batch training.
        seed: of the head and of the order of the rows.
        device: where it is trained.
        progress: show a bar.
    """
    classes, codes = np.unique(train_split.labels, return_inverse=True)
    count = len(codes)
    size = min(config.batch_size or count, count)
    steps = config.epochs * max(1, count // size)
    with seeded(seed):
        module = FeatureHead(width, len(classes))

    def losses(model: FeatureHead, batch: FeatureBatch, generator: torch.Generator) -> Losses:
        return classification_losses(model(batch.features), batch.labels, config.label_smoothing)

    def batches(start: int, stop: int) -> Iterator[FeatureBatch]:
        for rows in _orders(count, size, seed, start, stop):
            yield FeatureBatch(_rows(train_split.features, rows), torch.from_numpy(codes[rows]))

    optim = OptimConfig(
        lr=config.lr,
        weight_decay=config.weight_decay,
        warmup=round(config.warmup * steps),
        schedule=Schedule.COSINE,
        new_lr_multiplier=1.0,
    )
    training = TrainingConfig(
        steps=steps,
        seed=seed,
        precision=Precision.FP32,
        optim=optim,
        save_every=0,
        log_every=max(1, steps // 10),
    )
    Trainer(module, losses, batches, training, callbacks=[RunLog(progress)], device=device).fit()
    return TrainedHead(module.cpu().eval(), classes)


def _orders(count: int, size: int, seed: int, start: int, stop: int) -> Iterator[Array]:
    """Rows of each step: every epoch is a permutation, its last rows that fill no batch are left out."""
    a_pass = max(1, count // size)
    epoch, order = -1, np.empty(0, dtype=np.int64)
    for step in range(start, stop):
        if step // a_pass != epoch:
            epoch = step // a_pass
            order = np.random.default_rng((seed, epoch)).permutation(count)
        at = step % a_pass * size
        yield np.sort(order[at : at + size])  # in the order of the file


def _rows(features: Array, rows: Array | slice) -> Tensor:
    return torch.from_numpy(np.array(features[rows], dtype=np.float32))
