"""Losses of heads with classes or values, and what their outputs are as probabilities."""

from torch import Tensor, nn

from xfm.objectives.losses import Losses


def classification_losses(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, weight: Tensor | None = None
) -> Losses:
    """Cross-entropy of a classification head, as torch has it.

    With weights it is the mean weighted by the classes of the rows; of shares it is the mean over the rows,
    as torch's is. The accuracy in the log has the same weights.

    Args:
        logits: [R, C] float.
        labels: [R] int64 in [0, C), or [R, C] float shares of the classes.
        label_smoothing: share of the target that is spread over all classes.
        weight: [C] float of the classes; None weighs them alike.
    """
    logits = logits.float()
    loss = nn.functional.cross_entropy(logits, labels, weight, label_smoothing=label_smoothing)
    classes = labels if labels.ndim == 1 else labels.argmax(-1)
    right = (logits.detach().argmax(-1) == classes).float()
    own = None if weight is None or labels.ndim == 2 else weight[classes]
    accuracy = right.mean() if own is None else (right * own).sum() / own.sum()
    return Losses(total=loss, terms={"cross_entropy": loss}, metrics={"accuracy": accuracy})


def label_losses(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Losses:
    """Binary cross-entropy of a head with several labels a row: the mean over rows and labels.

    Args:
        logits: [R, C] float.
        labels: [R, C] float, 0 or 1.
        weight: [C] float, what the rows that have a label count for in it (torch's `pos_weight`).
    """
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels, pos_weight=weight)
    exact = ((logits.detach() > 0) == (labels > 0)).all(-1).float().mean()
    return Losses(total=loss, terms={"binary_cross_entropy": loss}, metrics={"exact_match": exact})


def regression_losses(values: Tensor, targets: Tensor) -> Losses:
    """Mean squared error of a head with one output.

    Args:
        values: [R, 1] float.
        targets: [R] float.
    """
    loss = nn.functional.mse_loss(values.float()[:, 0], targets.float())
    return Losses(total=loss, terms={"mse": loss})
