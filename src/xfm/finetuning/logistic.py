"""Multinomial logistic regression on many features: the optimum of scikit-learn's, found in fewer passes.

The loss is scikit-learn's: the mean cross-entropy plus |W|^2 / (2 C N), the bias without penalty. Where a row
may have several labels it is the sum of their binary ones, whose optimum is that of each by itself. It is
minimised by L-BFGS in other coordinates. Features are highly correlated, so that in their own coordinates
some directions are a thousand times steeper than others and L-BFGS needs hundreds of steps; here every
eigenvector of the features' covariance is a coordinate, scaled by the root of its curvature. The optimum is
the same, as it is one convex function of the same weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from xfm.finetuning.frozen_features import ROWS, blocks
from xfm.metrics.classification import Array

NULL = 1e-10  # share of the largest eigenvalue below which a direction is no direction
# A line search of more points goes on only where rounding hides which is lower.
SOLVER_THREADS = {"libscipy_openblas": 1}  # of the library that SciPy and NumPy bring along
SOLVER = {"maxcor": 20, "maxls": 10, "gtol": 0.0, "ftol": 1e-12}


@dataclass(frozen=True)
class LinearClassifier:
    """weight [D, C] and bias [C], float32; of a fit its iterations of L-BFGS, and whether it ended at the
    tolerance or float32's limit."""

    weight: Tensor
    bias: Tensor
    iterations: int = 0
    converged: bool = True

    def logits(self, features: Array) -> Tensor:
        """[N, D] features of any float type -> [N, C] float32."""
        found = [_block(features, rows) @ self.weight + self.bias for rows in blocks(len(features))]
        return torch.cat(found) if found else torch.empty(0, len(self.bias))

    def predict(self, features: Array) -> Tensor:
        """[N, D] -> [N] int64, the class of the largest logit."""
        return self.logits(features).argmax(1)


@dataclass
class Regression:
    """Logistic regression on features [N, D] (a memory map is read in blocks), labels [N] int64 or [N, C] 0
    and 1. `deviations` [D] divide features, `weights` [C] weigh classes. ValueError: shapes or labels that do
    not fit."""

    features: Array
    labels: Array
    classes: int
    deviations: Array | None = None
    weights: Array | None = None
    mean: Tensor = field(init=False)
    axes: Tensor = field(init=False)
    variances: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.labels) or not len(self.labels):
            raise ValueError(f"{self.features.shape} features do not belong to {len(self.labels)} labels")
        if self.classes < 2 or self.labels.min() < 0 or self.labels.max() >= self.classes:
            raise ValueError(f"labels must lie between 0 and {self.classes - 1}, of at least two classes")
        kind = np.float32 if self.several else np.int64
        self._targets = torch.from_numpy(np.ascontiguousarray(self.labels, dtype=kind))
        own = np.ones(self.classes) if self.weights is None else self.weights
        self.class_weights = torch.from_numpy(np.asarray(own, dtype=np.float32))
        self._divisor = None if self.deviations is None else torch.from_numpy(self.deviations).float()
        count, width = self.features.shape
        total = torch.zeros(width, dtype=torch.float64)
        for block, _ in self.blocks():
            total += block.double().sum(0)
        mean = total / count
        if count < min(width, ROWS):  # the rows' products have the same eigenvalues, in a smaller matrix
            (rows,) = (block.double() - mean for block, _ in self.blocks())
            values, left = torch.linalg.eigh(rows @ rows.T / count)
            vectors = rows.T @ left / (values * count).clamp(min=torch.finfo(torch.float64).tiny).sqrt()
        else:
            square = torch.zeros(width, width, dtype=torch.float64)
            for block, _ in self.blocks():
                square += block.double().T @ block.double()
            values, vectors = torch.linalg.eigh(square / count - torch.outer(mean, mean))
        kept = values > max(NULL * values[-1].item(), torch.finfo(torch.float64).tiny)
        self.mean = mean.float()
        self.axes = vectors[:, kept].float().contiguous()  # [D, R]
        self.variances = values[kept]  # [R] float64
        # Rows that are held anyway are turned to the axes once, not in every pass.
        whole = [block for block, _ in self.blocks()] if len(self.labels) <= ROWS else []
        self._turned = (whole[0] - self.mean) @ self.axes if whole else None  # [N, R]

    @property
    def several(self) -> bool:
        """Whether a row may have several labels."""
        return self.labels.ndim == 2

    def fit(
        self,
        inverse_penalty: float,
        start: LinearClassifier | None = None,
        tolerance: float = 1e-5,
        max_iterations: int = 1000,
    ) -> LinearClassifier:
        """The classifier of penalty |W|^2 / (2 C), as in scikit-learn, from `start` (zeros if None)."""
        # Of two classes scikit-learn fits one vector, the difference of ours: half of C is the same penalty.
        value = inverse_penalty / 2 if self.classes == 2 and not self.several else inverse_penalty
        objective = _Objective(self, 1.0 / (value * len(self.labels)))

        def stop_at_tolerance(point: NDArray[np.float64]) -> None:
            if objective.steepest <= tolerance:  # of the last point evaluated, which is the one accepted
                raise StopIteration

        scale = 1.0 if self._divisor is None else self._divisor[:, None]
        first = objective.point(start and replace(start, weight=start.weight * scale))
        objective.evaluate(first)
        if objective.steepest <= tolerance:
            found = objective.classifier(first)
            return replace(found, weight=found.weight / scale)
        # SciPy's threads would spin beside torch's between the solver's short sums: several times as long.
        with threadpool_limits(SOLVER_THREADS):
            found = minimize(
                objective.evaluate,
                first,
                jac=True,
                method="L-BFGS-B",
                callback=stop_at_tolerance,
                # The tolerance is on the gradient by the weights, which only the callback knows.
                options={**SOLVER, "maxiter": max_iterations},
            )
        last, steps = objective.classifier(found.x), int(found.nit)
        return LinearClassifier(last.weight / scale, last.bias, steps, steps < max_iterations)

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Features [B, D] float32, divided by their deviations, and labels [B] or [B, C] in blocks."""
        for rows in blocks(len(self.features)):
            block = _block(self.features, rows)
            yield block if self._divisor is None else block / self._divisor, self._targets[rows]

    def classifier(self, along: Tensor, level: Tensor) -> LinearClassifier:
        """That of weights along the axes [R, C] and logits at the mean [C], on divided features."""
        weight = self.axes @ along  # [D, C]
        return LinearClassifier(weight, level - self.mean @ weight)

    def cross_entropy(self, along: Tensor, level: Tensor) -> tuple[float, Tensor, Tensor]:
        """Summed over the rows, with its gradients by the weights along the axes [R, C] and the level [C]."""
        measure = _binary if self.several else _multinomial
        if self._turned is not None:
            logits = _narrow(self._turned, along) + level  # [N, C]
            loss, residual = measure(logits, self._targets, self.class_weights)
            return loss, _narrow(self._turned.T, residual), residual.sum(0)
        now, loss = self.classifier(along, level), 0.0
        by_weight, by_level = torch.zeros_like(now.weight), torch.zeros_like(level)
        for features, labels in self.blocks():
            own, residual = measure(
                torch.addmm(now.bias, features, now.weight), labels, self.class_weights
            )  # of [B, C]
            loss += own
            by_weight.addmm_(features.T, residual)
            by_level += residual.sum(0)
        return loss, self.axes.T @ (by_weight - torch.outer(self.mean, by_level)), by_level


class _Objective:
    """Loss at points [(R + 1) C]: scaled weights, the last row the bias; `steepest` is the gradient's largest
    entry."""

    def __init__(self, rows: Regression, penalty: float) -> None:
        self.rows, self.penalty = rows, penalty
        # The curvature of the cross-entropy along an axis is its variance times p (1 - p) at most; 1 / C is
        # its size before anything is known.
        curvature = rows.variances / rows.classes + penalty
        self.scale = curvature.rsqrt().float()[:, None]  # [R, 1]
        self.bias_scale = float(rows.classes) ** 0.5
        self.steepest = float("inf")

    def point(self, start: LinearClassifier | None) -> NDArray[np.float64]:
        point = torch.zeros(len(self.scale) + 1, self.rows.classes)
        if start is not None:
            point[:-1] = (self.rows.axes.T @ start.weight) / self.scale
            point[-1] = (start.bias + self.rows.mean @ start.weight) / self.bias_scale
        return point.double().numpy().ravel()

    def classifier(self, point: NDArray[np.float64]) -> LinearClassifier:
        return self.rows.classifier(*self._along(point))

    def evaluate(self, point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        (along, level), rows, count = self._along(point), self.rows, len(self.rows.labels)
        loss, by_along, by_level = rows.cross_entropy(along, level)
        by_along, by_level = by_along / count + self.penalty * along, by_level / count
        by_weight = _narrow(rows.axes, by_along) + torch.outer(rows.mean, by_level)
        self.steepest = float(torch.maximum(by_weight.abs().max(), by_level.abs().max()))
        gradient = torch.cat([self.scale * by_along, self.bias_scale * by_level[None]])
        loss = loss / count + 0.5 * self.penalty * float(along.double().square().sum())
        return loss, gradient.double().numpy().ravel()

    def _along(self, point: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Weights along the axes [R, C], and logits of a row at the mean [C]."""
        rows = torch.from_numpy(point).float().view(-1, self.rows.classes)  # [R + 1, C]
        return self.scale * rows[:-1], self.bias_scale * rows[-1]


def _narrow(left: Tensor, right: Tensor) -> Tensor:
    """[N, R] times [R, C] of few columns, which MKL computes faster turned over."""
    return (right.T.contiguous() @ left.T).T


def _multinomial(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Summed cross-entropy and its gradient [B, C]; uses up the logits."""
    logits -= logits.amax(1, keepdim=True)
    right = logits.gather(1, labels[:, None])[:, 0]
    odds = logits.exp_()  # `right` is a copy
    total, own = odds.sum(1, keepdim=True), weights[labels]
    loss = float(((total[:, 0].log().double() - right.double()) * own).sum())
    residual = odds.div_(total)
    residual[torch.arange(len(labels)), labels] -= 1.0
    return loss, residual.mul_(own[:, None])


def _binary(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Summed binary cross-entropy and its gradient [B, C]."""
    each = binary_cross_entropy_with_logits(logits, labels, pos_weight=weights, reduction="none")
    there, odds = weights * labels, logits.sigmoid()
    return float(each.double().sum()), (1.0 - labels) * odds - there * (1.0 - odds)


def _block(features: Array, rows: slice) -> Tensor:
    block = np.asarray(features[rows])
    if block.dtype != np.float32 or not block.flags.writeable:
        block = block.astype(np.float32)
    return torch.from_numpy(block)
