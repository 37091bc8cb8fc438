"""What a forward pass keeps of its layers: all, the products of matrices, or what each is given alone."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

from xfm.config.training import ActivationCheckpointing
from xfm.models.encoders import layered_parts, units_of
from xfm.training.randomness import return_to_random

_ATEN = torch.ops.aten
_PRODUCTS = frozenset(
    {
        _ATEN.addmm.default,
        _ATEN.mm.default,
        _ATEN.convolution.default,
        _ATEN._scaled_dot_product_flash_attention.default,
        _ATEN._scaled_dot_product_efficient_attention.default,
        _ATEN._scaled_dot_product_cudnn_attention.default,
        _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
    }
)
"""Operations that `between` does not do twice: linear layers, convolutions, attention in one piece."""


@contextmanager
def activation_checkpointing(model: nn.Module, wanted: ActivationCheckpointing) -> Iterator[None]:
    """Inside, the parts of a model keep no more than the mode says and compute the rest again. Dropout draws
    the same numbers again, so losses and gradients are those of a pass that keeps all."""
    changed: list[nn.Module] = []
    contexts: dict[str, Any] = {}
    if wanted is ActivationCheckpointing.AUTO:
        raise ValueError("what auto comes to depends on a recipe and its device: training.pretrain decides")
    if wanted is ActivationCheckpointing.FULL:
        changed = units_of(model)
    if wanted is ActivationCheckpointing.SELECTIVE:
        changed = [layer for _, part in layered_parts(model) for layer in part.layers]
        contexts = {"context_fn": _between}
    for part in changed:
        part.forward = partial(checkpoint, part.forward, use_reentrant=False, **contexts)
    try:
        yield
    finally:
        for part in changed:
            del part.forward


def _kept(operation: Any, result: Any) -> Callable[[object], Any]:
    """Keeps an operation's result: gives it again to the pass that repeats the operation. Its tensors share
    the result's memory, outside of the graph; random numbers go on as after the operation, as fused attention
    draws its own dropout."""
    go_back = None
    if torch.Tag.nondeterministic_seeded in operation.tags:
        go_back = return_to_random(_tensors(result)[0].device)
    # With this, whoever changes the result in place is found out: both count their changes together.
    with torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.ADInplaceOrView, False):
        shared = tree_map_only(Tensor, Tensor.detach, result)
    version = sum(part._version for part in _tensors(shared))

    def again(repeated: object) -> Any:
        if repeated is not operation:
            raise RuntimeError(f"computing again came to {repeated} where {operation} was before")
        if sum(part._version for part in _tensors(shared)) != version:
            raise RuntimeError(
                f"the result of {operation} was changed in place: training.activation_checkpointing "
                "selective cannot keep it, take none or full"
            )
        if go_back is not None:
            go_back()
        return shared

    return again


def _tensors(result: Any) -> list[Tensor]:
    parts = result if isinstance(result, Sequence) else [result]
    return [part for part in parts if isinstance(part, Tensor)]


class Products(TorchDispatchMode):
    """A pass whose matrix products are put aside in the order of the operations, or the same pass again."""

    def __init__(self, kept: deque[Callable[[object], Any]], again: bool) -> None:
        super().__init__()
        self.kept, self.again = kept, again

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # Of attention in pieces, [B, N, K] x [B, K, M], the product is kept whose rows are no longer than
        # those of its first factor: of the sums of values where there are more keys than numbers in a head,
        # as in pictures, else of the scores. The other one takes more memory for less work.
        kept = func in _PRODUCTS or (func is _ATEN.bmm.default and args[1].shape[2] <= args[0].shape[2])
        if kept and self.again:
            return self.kept.popleft()(func)
        result = func(*args, **(kwargs or {}))
        if kept:
            self.kept.append(_kept(func, result))
        return result


def _between() -> tuple[Products, Products]:
    """Contexts of a unit's forward pass, and of the pass again.

    Torch's own (`create_selective_checkpoint_contexts`) compare all operations of both. That fails with
    autocast, which converts a matrix once for several passes, but anew where one of them is done again.
    """
    kept = deque[Callable[[object], Any]]()
    return Products(kept, again=False), Products(kept, again=True)
