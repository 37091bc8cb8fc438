"""BEiT-2 style vision encoder: relative positions per block, mean-pooled slot 0 (paper section 3.1)."""

import math
from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from xfm.config.encoders import Grid, Positions, VisionConfig
from xfm.models.attention import attend, join_heads, split_all
from xfm.models.layers import fix, sine_table
from xfm.models.precision import working_dtype

RATIO_RANGE = (1.01, 1.5)
PRECISION = 1e-6
_EXTRA = 3  # rows of cls -> patch, patch -> cls, cls -> cls


def resample_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Relative-position table [(2 n - 1)(2 m - 1) + 3, H] of the grid n x m for another grid; equal grids
    keep their values. Old offsets lie on a geometric progression that spans the new window; each head is
    interpolated by a cubic spline per axis (not-a-knot), clamped at the ends; the three cls rows stay. As
    BEiT (arXiv 2106.08254) and X-FM do for 384 px."""
    (height, width), (new_height, new_width) = ((2 * n - 1, 2 * m - 1) for n, m in (old, new))
    if len(table) != height * width + _EXTRA:
        raise ValueError(f"a table of {len(table)} rows does not belong to a grid of {old[0]} x {old[1]}")
    if old == new:
        return table.clone()
    offsets = table[:-_EXTRA].detach().to("cpu", torch.float64).view(height, width, -1).numpy()
    down = _resample_axis(offsets, new_height, axis=0)
    both = torch.from_numpy(_resample_axis(down, new_width, axis=1))  # [2 n' - 1, 2 m' - 1, H]
    return torch.cat([both.flatten(0, 1).to(table), table[-_EXTRA:]])


def progression_ratio(half: int, new_half: int) -> float:
    """Ratio q in [1.01, 1.5] with 1 + q + ... + q^(half - 1) = `new_half`, by bisection."""
    low, high = RATIO_RANGE
    ratio = low
    while high - low > PRECISION:
        ratio = (low + high) / 2
        if (1 - ratio**half) / (1 - ratio) > new_half:
            high = ratio
        else:
            low = ratio
    return ratio


def _resample_axis(values: np.ndarray, length: int, axis: int) -> np.ndarray:
    old = values.shape[axis]
    if old == length:
        return values
    half, new_half = old // 2, length // 2
    if half == 0:  # one patch: there is nothing to interpolate between
        return np.repeat(values, length, axis=axis)
    distances = np.cumsum(progression_ratio(half, new_half) ** np.arange(half, dtype=np.float64))
    places = np.concatenate([-distances[::-1], [0.0], distances])
    wanted = np.clip(np.arange(-new_half, new_half + 1), places[0], places[-1])
    from scipy.interpolate import make_interp_spline

    # Three places carry a parabola, not a cubic: a grid of two patches.
    return make_interp_spline(places, values, k=min(3, old - 1), axis=axis)(wanted)


def relative_position_index(grid: Grid) -> Tensor:
    """[1 + P, 1 + P] int64 table rows of every pair of slots, cls first: (r1 - r2 + n - 1)(2 m - 1) + (c1
    - c2 + m - 1) for patches, then cls -> patch, patch -> cls, cls -> cls."""
    height, width = grid
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = (rows * (2 * width - 1) + columns).flatten()  # [P]; the row is a difference of two, from 0 on
    index = torch.empty(1 + len(place), 1 + len(place), dtype=torch.int64)
    torch.sub(place[:, None], place - place[-1], out=index[1:, 1:])  # without a second [P, P]
    last = (2 * height - 1) * (2 * width - 1)
    index[0, :], index[:, 0], index[0, 0] = last, last + 1, last + 2
    return index


def sine_positions(grid: Grid, width: int, longest: float = 4.0) -> Tensor:
    """[P, width] float32 in [-1, 1], row-major 2-D sines, half of the channels each for row and column;
    wavelengths from 2 to `longest` grids, so that a linear layer can read coordinates."""
    rows, columns = (sine_table(length, width // 2, longest * length) for length in grid)
    rows, columns = torch.broadcast_tensors(rows[:, None], columns[None])
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


class BiasedLinear(nn.Linear):
    """Linear layer whose bias comes with its input, called as a layer so that wrappers (LoRA) reach it."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Tensor, bias: Tensor
    ) -> Tensor:
        """[..., D] and [F] -> [..., F]."""
        return nn.functional.linear(input, self.weight, bias)


class VisionAttention(nn.Module):
    """Self-attention with biases on queries and values only, and a relative-position table."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = BiasedLinear(config.width, 3 * config.width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(config.width))
        self.v_bias = nn.Parameter(torch.zeros(config.width))
        rows = prod(2 * side - 1 for side in config.grid) + 3
        self.relative_position_table = nn.Parameter(torch.zeros(rows, config.heads))
        self.out = nn.Linear(config.width, config.width)

    def forward(self, states: Tensor, index: Tensor) -> Tensor:
        """[B, 1 + P, D] and the [1 + P, 1 + P] table rows -> [B, 1 + P, D]."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        query, key, value = split_all(self.qkv(states, bias), self.heads, 3)
        table = self.relative_position_table  # [rows, H]
        if table.is_cpu:  # by head: the backward by row takes ten times as long
            relative = table.t().contiguous().index_select(1, index.flatten()).view(-1, *index.shape)
        else:  # by index, whose sums have a fixed order
            relative = table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)
        attended = attend(query, key, value, bias=relative[None])
        return self.out(join_heads(attended))


class DropPath(nn.Module):
    """Residual branches dropped a sample at a time, else scaled. A CPU computes the kept samples alone; a
    GPU, which would have to wait for their number, computes all."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, states: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """[B, ...] and a function of some of its rows, each by itself -> [B, ...] their sum."""
        if not self.training or self.rate == 0:
            return states + branch(states)
        keep = torch.rand(len(states), device=states.device) >= self.rate
        if states.is_cpu and not torch.compiler.is_compiling():
            rows, scale = keep.nonzero()[:, 0], 1 / (1 - self.rate)
            if len(rows) == len(states):
                return torch.add(states, branch(states), alpha=scale)
            added = branch(states.index_select(0, rows))
            dtype = torch.promote_types(states.dtype, added.dtype)
            return states.to(dtype).index_add(0, rows, added.to(dtype), alpha=scale)
        added = branch(states)
        return states + added * keep.to(added.dtype).view(-1, *[1] * (added.ndim - 1)) / (1 - self.rate)


class VisionBlock(nn.Module):
    """Pre-norm block with LayerScale."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        hidden = int(config.width * config.mlp_ratio)
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attention = VisionAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.fc1 = nn.Linear(config.width, hidden)
        self.fc2 = nn.Linear(hidden, config.width)
        self.gamma1 = nn.Parameter(torch.full((config.width,), config.layer_scale))
        self.gamma2 = nn.Parameter(torch.full((config.width,), config.layer_scale))
        self.drop_path = DropPath()

    def forward(self, states: Tensor, index: Tensor) -> Tensor:
        """[B, 1 + P, D] -> [B, 1 + P, D]."""
        states = self.drop_path(states, lambda rows: self._attended(rows, index))
        return self.drop_path(states, self._transformed)

    def _attended(self, states: Tensor, index: Tensor) -> Tensor:
        attended = self.attention(self.norm1(states), index)
        return self.gamma1.to(attended.dtype) * attended

    def _transformed(self, states: Tensor) -> Tensor:
        hidden = self.fc2(nn.functional.gelu(self.fc1(self.norm2(states))))
        return self.gamma2.to(hidden.dtype) * hidden


class PatchEmbedding(nn.Conv2d):
    """Patch convolution as one matrix product: a seventh of the convolution's time on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, P, D], row by row."""
        patches = _squares(input, self.stride[0]).flatten(1, 2)
        return nn.functional.linear(patches, self.weight.flatten(1), self.bias)


class ConvolutionalStem(nn.Module):
    """Patches by `VisionConfig.stem`, each convolution behind LayerNorm and GELU. They are linear layers of
    windows, quicker than narrow convolutions on a CPU, and matrices for Muon."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.side = config.patch_size >> len(config.stem)
        given = 3 * self.side**2, *(9 * width for width in config.stem)
        layers = zip(given, (*config.stem, config.width), strict=True)
        self.projections = nn.ModuleList(nn.Linear(width, out) for width, out in layers)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=config.norm_eps) for width in config.stem)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, P, D], row by row."""
        first, *others = self.projections
        cells = first(_squares(pixels, self.side))
        for norm, projection in zip(self.norms, others, strict=True):
            cells = projection(_windows(nn.functional.gelu(norm(cells))))
        return cells.flatten(1, 2)


def _squares(pixels: Tensor, side: int) -> Tensor:
    """[B, 3, H, W] -> [B, H / side, W / side, 3 * side * side]."""
    rows, columns = (length // side for length in pixels.shape[2:])
    cut = working_dtype(pixels).unflatten(3, (columns, side)).unflatten(2, (rows, side))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3)


def _windows(cells: Tensor) -> Tensor:
    """[B, H, W, D] -> [B, H / 2, W / 2, 9 D], windows of 3 x 3 that begin a row above and a column to the
    left of each square of four."""
    rows, columns = (length - 1 for length in cells.shape[1:3])
    padded = nn.functional.pad(cells, (0, 0, 1, 0, 1, 0))
    parts = [padded[:, row : row + rows : 2, column : column + columns : 2] for row, column in _OFFSETS]
    return torch.cat(parts, dim=-1)


_OFFSETS = [(row, column) for row in range(3) for column in range(3)]


class VisionEncoder(nn.Module):
    """Pictures to patch vectors with their mean in slot 0."""

    index: Tensor
    positions: Tensor | None

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        side = config.patch_size
        self.patch_embed = (
            ConvolutionalStem(config) if config.stem else PatchEmbedding(3, config.width, side, stride=side)
        )
        self.cls = nn.Parameter(torch.zeros(config.width))
        self.mask_vector = nn.Parameter(torch.zeros(config.width))
        self.blocks = nn.ModuleList(VisionBlock(config) for _ in range(config.depth))
        self.set_drop_path(config.drop_path)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.compute_buffers()
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.trunc_normal_(module.weight, std=config.init_std)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
            for vector in (self.cls, self.mask_vector):
                nn.init.trunc_normal_(vector, std=0.02)
            for layer, block in enumerate(self.blocks, start=1):
                assert isinstance(block, VisionBlock)
                block.attention.out.weight.div_(math.sqrt(2 * layer))
                block.fc2.weight.div_(math.sqrt(2 * layer))

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks."""
        return self.blocks

    def compute_buffers(self) -> None:
        """Compute the buffers of the grid, which no file of weights holds."""
        grid = self.config.grid
        with torch.device("cpu"):  # arithmetic without memory would import torch's compiler, for seconds
            index = relative_position_index(grid)
            sine = self.config.positions is Positions.SINE_2D
            positions = sine_positions(grid, self.config.width) if sine else None
        fix(self, "index", index, self.cls)
        fix(self, "positions", positions, self.cls)

    @torch.no_grad()
    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take images of another size (height, and width if not square); relative-position tables are
        resampled. ValueError where the patch size does not divide it."""
        config = replace(self.config, image_size=image_size, image_width=image_width)
        if config.grid != self.config.grid:
            for block in self.blocks:
                assert isinstance(block, VisionBlock)
                attention = block.attention
                table = resample_table(attention.relative_position_table, self.config.grid, config.grid)
                attention.relative_position_table = nn.Parameter(table)
        self.config = config
        self.compute_buffers()

    def set_drop_path(self, rate: float) -> None:
        """Drop-path rate in training, rising linearly over the blocks from 0 to `rate` in [0, 1)."""
        for place, block in enumerate(self.blocks):
            assert isinstance(block, VisionBlock)
            block.drop_path.rate = rate * place / max(1, len(self.blocks) - 1)

    def embed(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] pixels (and [B, P] bool masked patches) -> [B, 1 + P, D], cls first."""
        patches = self.patch_embed(pixels)
        if patch_mask is not None:
            patches = torch.where(patch_mask[..., None], self.mask_vector.to(patches.dtype), patches)
        if self.positions is not None:
            patches = patches + self.positions
        cls = self.cls.to(patches.dtype).expand(patches.shape[0], 1, -1)
        return working_dtype(torch.cat([cls, patches], dim=1))

    def forward(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] normalised pixels and [B, P] bool patch mask -> [B, 1 + P, D]: slot 0 is the mean
        of the normalised patches."""
        states = self.embed(pixels, patch_mask)
        for block in self.blocks:
            states = block(states, self.index)
        patches = self.norm(states[:, 1:])
        return torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)
