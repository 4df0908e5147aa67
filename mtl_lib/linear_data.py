"""Examples of several tasks: checked, and told apart into those that tasks share and those they have themselves."""

from collections.abc import Sequence

import numpy as np
from sklearn.utils.validation import check_array

from mtl_lib.errors import DataError


def is_list_of_tasks(X) -> bool:
    """Whether X is one array of examples per task.

    Examples
    --------
    >>> is_list_of_tasks([np.zeros((3, 2)), np.zeros((4, 2))]), is_list_of_tasks(np.zeros((3, 2)))
    (True, False)
    """
    return isinstance(X, (list, tuple)) and len(X) > 0 and getattr(X[0], "ndim", 0) == 2


def task_examples(x, task: int, features: int | None = None) -> np.ndarray:
    """One task's examples as a float array, or an error that names the task.

    Examples
    --------
    >>> task_examples([[1, 2]], task=0).dtype
    dtype('float64')
    """
    try:
        x = check_array(x, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"task {task}: {error}") from None
    if features is not None and x.shape[1] != features:
        raise DataError(f"task {task} has {x.shape[1]} features, the tasks before it {features}")
    return x


def task_lists(X: Sequence, y: Sequence) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of examples ``[n_t, D]`` and targets ``[n_t]``, or an error that names the task.

    Examples
    --------
    >>> [pair[1].shape for pair in task_lists([np.zeros((3, 2)), np.zeros((4, 2))], [np.zeros(3), np.zeros(4)])]
    [(3,), (4,)]
    """
    if len(X) != len(y):
        raise DataError(
            f"{len(X)} arrays of examples but {len(y)} of targets; there must be one of each per task"
        )
    pairs, features = [], None
    for task, (x, targets) in enumerate(zip(X, y, strict=True)):
        x = task_examples(x, task, features)
        features = x.shape[1]
        targets = np.asarray(targets)
        if targets.shape != (len(x),):
            raise DataError(f"task {task} has {len(x)} examples but targets of shape {targets.shape}")
        pairs.append((x, targets))
    return pairs
