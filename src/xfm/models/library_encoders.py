"""What encoders of other libraries share: masked patches, what stands for a text, buffers without a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfm.config.encoders import TextPooling
from xfm.core.errors import UserError
from xfm.models.layers import Embeddings, mean_of_tokens


class Library(nn.Module):
    """An encoder that another library computes, its `trunk`."""

    trunk: Any

    @property
    def layers(self) -> list[nn.Module]:
        """The members of the network's list of layers."""
        return _find_layers(self.trunk)


def _find_layers(trunk: nn.Module) -> list[nn.Module]:
    for child in trunk.children():
        members = list(child.children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
        if len(members) > 1 and len({type(member) for member in members}) == 1:
            return members
    return [layer for child in trunk.children() for layer in _find_layers(child)]


class LibraryVision(Library):
    """A vision transformer of another library (`trunk`). Patches are masked behind its patch embedding, so
    that positions and registers stay the library's; `axis` of what that gives has the D channels."""

    def __init__(self, config: Any, trunk: Any, patch_embedding: nn.Module, axis: int = 1) -> None:
        super().__init__()
        self.config, self.trunk, self._axis = config, trunk, axis
        self.mask_vector = nn.Parameter(torch.zeros(config.width))
        nn.init.trunc_normal_(self.mask_vector, std=0.02)
        self._patch_mask: Tensor | None = None
        patch_embedding.register_forward_hook(self._replace_masked)

    def _replace_masked(self, module: nn.Module, inputs: tuple[Tensor, ...], patches: Tensor) -> Tensor:
        if self._patch_mask is None:
            return patches
        moved = patches.movedim(self._axis, -1)
        masked = self._patch_mask.view(*moved.shape[:-1], 1)
        return torch.where(masked, self.mask_vector.to(patches.dtype), moved).movedim(-1, self._axis)

    @contextmanager
    def masking(self, patch_mask: Tensor | None) -> Iterator[None]:
        """Passes inside have these patches [B, P] bool masked."""
        self._patch_mask = patch_mask
        try:
            yield
        finally:
            self._patch_mask = None

    def set_drop_path(self, rate: float) -> None:
        """Drop-path rate in training; a UserError where the library has none."""
        if rate:
            raise UserError("this vision encoder has no drop path: leave image.drop_path out")


class PooledText(Library):
    """A text encoder of another library, whose slot 0 is made what stands for the text.

    The first token's own state is not lost by it: where it is a word, it is kept in the place of the last
    token, which ends the text and says nothing else.
    """

    config: Any

    @property
    def words(self) -> nn.Embedding:
        """The word matrix [V, D], to which the MLM head is tied."""
        raise NotImplementedError

    def copy_words(self, embeddings: Embeddings) -> None:
        """Overwrite the word matrix with this encoder's; its positions are its own."""
        embeddings.words.load_state_dict(self.words.state_dict())

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] ids and mask -> [R, T, D], as the library computes them."""
        raise NotImplementedError

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and bool mask -> [R, T, D]; states of padding are undefined."""
        pooling, length = self.config.pooling, ids.shape[1]
        if pooling is TextPooling.FILLED:
            more = self.config.max_positions - length
            filled = F.pad(ids.masked_fill(~mask, self.config.pad), (0, more), value=self.config.pad)
            states = self.states(filled, torch.ones_like(filled, dtype=torch.bool))
            pooled, states = states[:, -1], states[:, :length]
            ends = mask.sum(dim=1, keepdim=True) - 1 == torch.arange(length, device=ids.device)
            states = torch.where(ends[..., None], states[:, :1], states)
        else:
            states = self.states(ids, mask)
            if pooling is TextPooling.FIRST:
                return states
            last = mask.sum(dim=1) - 1
            mean = pooling is TextPooling.MEAN
            pooled = mean_of_tokens(states, mask) if mean else states[torch.arange(len(ids)).to(last), last]
        return torch.cat([pooled[:, None], states[:, 1:]], dim=1)


@torch.no_grad()
def refill_buffers(module: nn.Module, fresh: nn.Module) -> None:
    """Copy the buffers that no state dict holds from a module that was built anew."""
    stored = module.state_dict().keys()
    for name, buffer in fresh.named_buffers():
        if name not in stored:
            module.get_buffer(name).copy_(buffer)
