"""How good a classifier of expressions is: accuracy, macro-recall, the majority rate, confusions.

Accuracy alone misleads where classes are unequal: always answering "thinking" scores 18 % on the paper's
13 states, more than three of its baselines.  So accuracy is never reported without the rate of the largest
class and the macro-recall (the mean over classes of the share recognised; also called balanced accuracy).
The landmark error is :func:`mtl_lib.landmarks.nme`.
"""

import warnings

import numpy as np
import torch
from jaxtyping import Int64
from sklearn import metrics as skm
from torch import Tensor

from mtl_lib.errors import DataError

Labels = Int64[Tensor, "_"]  # lengths are compared below, with a message of our own


def _numpy(true: Tensor, predicted: Tensor | None = None) -> list[np.ndarray]:
    if len(true) == 0:
        raise DataError("there are no labels to compare")
    if predicted is not None and len(predicted) != len(true):
        raise DataError(f"{len(predicted)} predictions for {len(true)} labels")
    return [x.detach().cpu().numpy() for x in (true, predicted) if x is not None]


def accuracy(true: Labels, predicted: Labels) -> float:
    """Return the share of right answers, 0 to 1.

    Raises
    ------
    DataError
        If there are no labels, or not as many predictions as labels (in all functions of this module).

    Examples
    --------
    >>> accuracy(torch.tensor([0, 1, 1, 1]), torch.tensor([1, 1, 1, 1]))
    0.75
    """
    return float(skm.accuracy_score(*_numpy(true, predicted)))


def macro_recall(true: Labels, predicted: Labels) -> float:
    """Return the mean over the classes that occur in ``true`` of the share recognised, 0 to 1.

    Chance, and every constant answer, is 1 / (number of classes that occur).

    Examples
    --------
    >>> macro_recall(torch.tensor([0, 1, 1, 1]), torch.tensor([1, 1, 1, 1]))
    0.5
    """
    with warnings.catch_warnings():
        # Predicting a class that does not occur is a mistake like any other, not worth a warning.
        # Nor is it one that only one class occurs.
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true|A single label")
        return float(skm.balanced_accuracy_score(*_numpy(true, predicted)))


def majority_rate(true: Labels) -> float:
    """Return the accuracy of always answering the most frequent class of ``true``, 0 to 1.

    Examples
    --------
    >>> majority_rate(torch.tensor([0, 1, 1, 1]))
    0.75
    """
    (labels,) = _numpy(true)
    return float(np.bincount(labels).max() / len(labels))


def confusion(true: Labels, predicted: Labels, classes: int) -> Int64[Tensor, "K K"]:
    """Count how often class i (row) was taken for class j (column).

    Parameters
    ----------
    true, predicted : Tensor, int64, [N]
        Classes from 0 to ``classes - 1``.
    classes : int
        Number of classes K; those that do not occur have rows of zeros.

    Raises
    ------
    DataError
        If a class is outside its range.

    Examples
    --------
    >>> confusion(torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0]), classes=2)
    tensor([[0, 1],
            [1, 1]])
    """
    arrays = _numpy(true, predicted)
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    if low < 0 or high >= classes:
        raise DataError(f"classes from {low} to {high}; they must lie between 0 and {classes - 1}")
    return torch.from_numpy(skm.confusion_matrix(*arrays, labels=range(classes)).astype(np.int64))
