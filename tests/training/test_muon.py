import pytest
import torch

from xfm.training.muon import BatchedMuon, orthogonalised

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
    for mine, theirs in zip(trained(BatchedMuon), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-4)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 60)])
def test_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    found = orthogonalised(torch.randn(shape).bfloat16(), (3.4445, -4.7750, 2.0315), 5).float()
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3
    assert values.max() < 1.4
