"""Muon whose Newton-Schulz iteration runs over all matrices of a shape at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xfm.models.precision import working_dtype


class BatchedMuon(torch.optim.Muon):
    """torch's Muon with one batched product for all matrices of a shape (or its transpose), as a small model
    has dozens of them. In bfloat16 its numbers are torch's; else it is float32, where torch's bfloat16 takes
    over twice as long on some CPUs."""

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
        lr, momentum = group["lr"], group["momentum"]
        directions = []
        for matrix in matrices:
            gradient, state = matrix.grad, self.state[matrix]
            assert gradient is not None
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            buffer = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            directions.append(working_dtype(_wide(gradient.lerp(buffer, momentum))))
        updates = orthogonalised(torch.stack(directions), group["ns_coefficients"], group["ns_steps"])
        size = 0.2 * max(matrices[0].shape) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - lr * group["weight_decay"])
            _wide(matrix).add_(update, alpha=-lr * size)


def orthogonalised(matrices: Tensor, polynomial: tuple[float, float, float], steps: int) -> Tensor:
    """[N, R, C] with singular values near 1, R at most C, by the Newton-Schulz iteration of fifth order of
    Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks"; `polynomial` has the
    coefficients of x, x^3 and x^5."""
    norms = torch.stack([matrix.norm() for matrix in matrices])  # as one reduction each: same rounding as one
    found = matrices / norms.clamp(min=1e-7)[:, None, None].to(matrices.dtype)
    if matrices.dtype is torch.float32 and matrices.shape[2] >= 2 * matrices.shape[1]:
        return _factor(found @ found.mT, polynomial, steps) @ found
    a, b, c = polynomial
    for _ in range(steps):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found


def _factor(gram: Tensor, polynomial: tuple[float, float, float], steps: int) -> Tensor:
    """Factor of X from G = X X^T alone, for R x R products: P = a + b G + c G^2, X <- P X, G <- P G P.
    Rounding adds up, which bfloat16 does not stand."""
    a, b, c = polynomial
    factor: Tensor | None = None
    for step in range(steps):
        power = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        power.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = power if factor is None else power @ factor
        if step + 1 < steps:
            gram = power @ gram @ power
    assert factor is not None
    return factor


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
