"""Muon whose Newton-Schulz iteration runs over all matrices of a shape at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """torch's Muon, number for number, with one batched product where it has one a matrix.

    A small model has dozens of matrices of few shapes, each too small to keep a processor busy. A matrix and
    the transpose of another count as one shape: the iteration turns every matrix so that it is wide.

    Args:
        params: groups of matrices.
        lr: learning rate; a step is as large as AdamW's would be at 0.2 of it (`match_rms_adamw`).
    """

    def __init__(self, params: list[dict[str, Any]], lr: float) -> None:
        super().__init__(params, lr=lr, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    key = (*sorted(matrix.shape), matrix.device, matrix.dtype)
                    alike.setdefault(key, []).append(matrix)
            for matrices in alike.values():
                self._update(matrices, group)

    def _update(self, matrices: Sequence[Tensor], group: dict[str, Any]) -> None:
        """One step of matrices that are of one shape, up to their transposition."""
        lr, momentum = group["lr"], group["momentum"]
        directions = []
        for matrix in matrices:
            gradient, state = matrix.grad, self.state[matrix]
            assert gradient is not None
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            buffer = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            directions.append(_wide(gradient.lerp(buffer, momentum)).bfloat16())
        updates = orthogonalised(torch.stack(directions), group["ns_coefficients"], group["ns_steps"])
        size = 0.2 * max(matrices[0].shape) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - lr * group["weight_decay"])
            _wide(matrix).add_(update, alpha=-lr * size)


def orthogonalised(matrices: Tensor, polynomial: tuple[float, float, float], steps: int) -> Tensor:
    """Matrices with singular values near 1: a Newton-Schulz iteration of the fifth order.

    Args:
        matrices: [N, R, C] bfloat16 with R at most C.
        polynomial: coefficients of x, x^3 and x^5.
        steps: iterations.

    Returns:
        [N, R, C], of all matrices what torch's Muon computes of each.

    Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks".
    """
    norms = torch.stack([matrix.norm() for matrix in matrices])  # as one reduction each: same rounding as one
    found = matrices / norms.clamp(min=1e-7)[:, None, None]
    a, b, c = polynomial
    for _ in range(steps):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found


def _wide(matrix: Tensor) -> Tensor:
    """A view of the matrix that is at least as wide as high."""
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
