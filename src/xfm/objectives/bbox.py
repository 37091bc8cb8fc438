"""BBP: bounding-box prediction, L1 and generalised IoU (paper section 3.2)."""

import torch
from torch import Tensor

from xfm.data.boxes import Boxes, BoxFormat, BoxUnit


def corners(boxes: Tensor) -> Tensor:
    """[..., 4] (cx, cy, w, h) fractions -> [..., 4] (left, top, right, bottom) fractions."""
    flat = Boxes(boxes.reshape(-1, 4), BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY)
    return flat.data.view_as(boxes)


def generalised_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU in [0, 1] and generalised IoU in [-1, 1] of broadcastable boxes [..., 4] (cx, cy, w, h), finite
    for empty boxes."""
    a, b = torch.broadcast_tensors(corners(first), corners(second))
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    overlap = (
        (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    )
    hull = (
        (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    )
    union = area_a + area_b - overlap
    tiny = torch.finfo(union.dtype).tiny
    iou = overlap / union.clamp(min=tiny)
    return iou, iou - (hull - union) / hull.clamp(min=tiny)


@torch.no_grad()
def nearest_boxes(predicted: Tensor, targets: Tensor) -> Tensor:
    """[N, 4] of each phrase's right boxes [N, M, 4] the one of least loss to the prediction [N, 4], as
    DETR's matching (arXiv 2005.12872): a drawn target would teach the middle of the boxes."""
    if targets.shape[1] == 1:
        return targets[:, 0]
    apart = (predicted[:, None] - targets).abs().sum(-1)  # [N, M]
    cost = apart + 1 - generalised_iou(predicted[:, None], targets)[1]
    return targets[torch.arange(len(targets), device=targets.device), cost.argmin(1)]


def box_losses(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L1 and 1 - GIoU of boxes [N, 4] (cx, cy, w, h), means over the rows (0 without any), and the mean
    IoU without gradient."""
    count = max(len(target), 1)
    iou, giou = generalised_iou(predicted, target)
    return (predicted - target).abs().sum() / count, (1 - giou).sum() / count, iou.detach().sum() / count
