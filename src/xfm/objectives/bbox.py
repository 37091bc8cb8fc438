"""BBP: bounding-box prediction, L1 and generalised IoU (paper section 3.2)."""

import torch
from torch import Tensor

from xfm.data.boxes import Boxes, BoxFormat, BoxUnit


def corners(boxes: Tensor) -> Tensor:
    """[..., 4] (cx, cy, w, h) fractions -> [..., 4] (left, top, right, bottom) fractions."""
    flat = Boxes(boxes.reshape(-1, 4), BoxFormat.CXCYWH, BoxUnit.FRACTION).to_format(BoxFormat.XYXY)
    return flat.data.view_as(boxes)


def generalised_iou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of boxes, row by row.

    Args:
        first, second: broadcastable to [..., 4] (cx, cy, w, h). A side that is negative counts as empty.

    Returns:
        IoU in [0, 1] and generalised IoU in [-1, 1], each [...]; finite for empty boxes too.
    """
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
    """Of several right boxes of each phrase the one of least loss: what a prediction is matched to.

    That is DETR's matching (arXiv 2005.12872), whose cost is the loss, for a single prediction. A target that
    is drawn instead would teach what lies between the boxes.

    Args:
        predicted: [N, 4] (cx, cy, w, h) as fractions of the picture's sides.
        targets: [N, M, 4] likewise; of equally near ones the first is taken.

    Returns:
        [N, 4].
    """
    if targets.shape[1] == 1:
        return targets[:, 0]
    apart = (predicted[:, None] - targets).abs().sum(-1)  # [N, M]
    cost = apart + 1 - generalised_iou(predicted[:, None], targets)[1]
    return targets[torch.arange(len(targets), device=targets.device), cost.argmin(1)]


def box_losses(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of N region rows.

    Args:
        predicted, target: [N, 4] (cx, cy, w, h) as fractions of the picture's sides.

    Returns:
        L1 summed over the four numbers and 1 - GIoU, each summed over the rows and divided by their count (0
        without rows), and the mean IoU without gradient.
    """
    count = max(len(target), 1)
    iou, giou = generalised_iou(predicted, target)
    return (predicted - target).abs().sum() / count, (1 - giou).sum() / count, iou.detach().sum() / count
