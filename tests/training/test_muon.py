import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.config.training import Precision
from xfm.models.precision import autocast
from xfm.training.optim import BatchedMuon, orthogonalised

POLYNOMIAL = (3.4445, -4.7750, 2.0315)
SHAPES = ((16, 48), (48, 16), (16, 48), (24, 24), (24, 24), (8, 40))


def trained(kind: type, **more: object) -> list[torch.nn.Parameter]:
    """Matrices after some steps; one of them has no gradient in the second."""
    torch.manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    groups = [{"params": matrices[:3], "weight_decay": 0.1}, {"params": matrices[3:], "weight_decay": 0.0}]
    optimizer = kind(groups, lr=0.02, **more)
    for step in range(4):
        for index, matrix in enumerate(matrices):
            matrix.grad = None if (step, index) == (1, 4) else torch.randn_like(matrix)
        optimizer.step()
    return matrices


def test_it_is_torchs_muon_number_for_number() -> None:
    expected = trained(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    with autocast(Precision.BF16, "cpu"):
        found = trained(BatchedMuon)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-4)


def test_in_float32_it_differs_from_torchs_by_rounding_of_bfloat16() -> None:
    expected = trained(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    differences = [
        (mine - theirs).abs().max() for mine, theirs in zip(trained(BatchedMuon), expected, strict=True)
    ]
    assert 1e-4 < max(differences) < 4 * 0.02 * 0.2  # a tenth of what four steps can move


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 60)])
def test_singular_values_come_near_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    found = orthogonalised(torch.randn(shape).to(dtype), POLYNOMIAL, 5)
    assert found.dtype is dtype
    values = torch.linalg.svdvals(found.float())
    assert values.min() > 0.3
    assert values.max() < 1.4


@given(
    rows=st.integers(1, 12),
    more=st.integers(0, 40),
    rank=st.integers(1, 12),
    steps=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_float32_is_the_iteration_in_float64(rows: int, more: int, rank: int, steps: int, seed: int) -> None:
    """By the matrices or, of wide ones, by their Gram matrices; of full rank or not."""
    drawn = torch.Generator().manual_seed(seed)
    columns = rows + more
    matrices = torch.randn(2, rows, rank, generator=drawn) @ torch.randn(2, rank, columns, generator=drawn)
    found = orthogonalised(matrices, POLYNOMIAL, steps)
    exact = matrices.double()  # float64 takes the iteration as it is written
    torch.testing.assert_close(found.double(), orthogonalised(exact, POLYNOMIAL, steps), rtol=0, atol=5e-3)
