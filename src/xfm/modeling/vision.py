"""BEiT-2 style vision encoder: relative positions per block, mean-pooled slot 0 (paper section 3.1)."""

import math

import torch
from torch import Tensor, nn

from xfm.config.model import Positions, VisionConfig
from xfm.modeling.attention import attend, join_heads, split_heads
from xfm.modeling.precision import working_dtype

EPS = 1e-6


def relative_position_index(grid: int) -> Tensor:
    """Rows of the relative-position table for every pair of slots, cls first.

    Returns:
        [1 + P, 1 + P] int64, P = grid^2. For patches (r1, c1) -> (r2, c2) the row is
        (r1 - r2 + grid - 1)(2 grid - 1) + (c1 - c2 + grid - 1); then cls -> patch, patch -> cls, cls -> cls.
    """
    side = 2 * grid - 1
    rows, columns = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()  # [P]
    index = torch.empty(1 + grid**2, 1 + grid**2, dtype=torch.int64)
    index[1:, 1:] = (rows[:, None] - rows + grid - 1) * side + (columns[:, None] - columns + grid - 1)
    index[0, :], index[:, 0], index[0, 0] = side**2, side**2 + 1, side**2 + 2
    return index


def sine_positions(grid: int, width: int) -> Tensor:
    """Fixed 2-D sine positions: half of the channels code the row, half the column.

    Returns:
        [P, width] float32 in [-1, 1], row-major. Wavelengths run geometrically from 2 to 4 grids, so
        that the lowest frequencies are monotone over the picture and a linear layer can read coordinates.
    """
    quarter = width // 4
    wavelengths = torch.logspace(math.log10(2.0), math.log10(4.0 * grid), quarter)
    angles = (torch.arange(grid) + 0.5)[:, None] * (2 * math.pi / wavelengths)  # [grid, quarter]
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)  # [grid, width / 2]
    rows, columns = axis[:, None].expand(-1, grid, -1), axis[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


class VisionAttention(nn.Module):
    """Self-attention with biases on queries and values only, and a relative-position table."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(config.width))
        self.v_bias = nn.Parameter(torch.zeros(config.width))
        self.relative_position_table = nn.Parameter(torch.zeros((2 * config.grid - 1) ** 2 + 3, config.heads))
        self.out = nn.Linear(config.width, config.width)

    def forward(self, states: Tensor, index: Tensor) -> Tensor:
        """[B, 1 + P, D] and the [1 + P, 1 + P] table rows -> [B, 1 + P, D]."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        query, key, value = nn.functional.linear(states, self.qkv.weight, bias).chunk(3, dim=-1)
        relative = self.relative_position_table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)
        attended = attend(*(split_heads(t, self.heads) for t in (query, key, value)), bias=relative[None])
        return self.out(join_heads(attended))


class DropPath(nn.Module):
    """Drops whole residual branches, a sample at a time, and rescales the rest."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """[B, ...] -> [B, ...]."""
        if not self.training or self.rate == 0:
            return branch
        keep = torch.rand(branch.shape[0], *[1] * (branch.ndim - 1), device=branch.device) >= self.rate
        return branch * keep.to(branch.dtype) / (1 - self.rate)


class VisionBlock(nn.Module):
    """Pre-norm block with LayerScale."""

    def __init__(self, config: VisionConfig, drop_path: float) -> None:
        super().__init__()
        hidden = int(config.width * config.mlp_ratio)
        self.norm1 = nn.LayerNorm(config.width, eps=EPS)
        self.attention = VisionAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=EPS)
        self.fc1 = nn.Linear(config.width, hidden)
        self.fc2 = nn.Linear(hidden, config.width)
        self.gamma1 = nn.Parameter(torch.full((config.width,), config.layer_scale))
        self.gamma2 = nn.Parameter(torch.full((config.width,), config.layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, states: Tensor, index: Tensor) -> Tensor:
        """[B, 1 + P, D] -> [B, 1 + P, D]."""
        attended = self.attention(self.norm1(states), index)
        states = states + self.drop_path(self.gamma1.to(attended.dtype) * attended)
        hidden = self.fc2(nn.functional.gelu(self.fc1(self.norm2(states))))
        return states + self.drop_path(self.gamma2.to(hidden.dtype) * hidden)


class VisionEncoder(nn.Module):
    """Pictures to patch vectors with their mean in slot 0."""

    index: Tensor
    positions: Tensor | None

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Conv2d(3, config.width, config.patch_size, stride=config.patch_size)
        self.cls = nn.Parameter(torch.zeros(config.width))
        self.mask_vector = nn.Parameter(torch.zeros(config.width))
        rates = [config.drop_path * i / max(1, config.depth - 1) for i in range(config.depth)]
        self.blocks = nn.ModuleList(VisionBlock(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(config.width, eps=EPS)
        self.register_buffer("index", relative_position_index(config.grid), persistent=False)
        positions = (
            sine_positions(config.grid, config.width) if config.positions is Positions.SINE_2D else None
        )
        self.register_buffer("positions", positions, persistent=False)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=self.config.init_std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for vector in (self.cls, self.mask_vector):
            nn.init.trunc_normal_(vector, std=0.02)
        for layer, block in enumerate(self.blocks, start=1):
            assert isinstance(block, VisionBlock)
            block.attention.out.weight.div_(math.sqrt(2 * layer))
            block.fc2.weight.div_(math.sqrt(2 * layer))

    def embed(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] pixels (and [B, P] bool masked patches) -> [B, 1 + P, D], cls first."""
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)  # [B, P, D], row-major
        if patch_mask is not None:
            patches = torch.where(patch_mask[..., None], self.mask_vector.to(patches.dtype), patches)
        if self.positions is not None:
            patches = patches + self.positions
        cls = self.cls.to(patches.dtype).expand(patches.shape[0], 1, -1)
        return working_dtype(torch.cat([cls, patches], dim=1))

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Encode pictures.

        Args:
            pixels: [B, 3, H, W] float, normalised.
            patch_mask: [B, P] bool, True where the patch is replaced by the mask vector.

        Returns:
            [B, 1 + P, D]: slot 0 is the mean of the normalised patch vectors in the other slots.
        """
        states = self.embed(pixels, patch_mask)
        for block in self.blocks:
            states = block(states, self.index)
        patches = self.norm(states[:, 1:])
        return torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)
