"""Adversarial domain alignment (Section 2.3, Eq. 4): features from which the data set cannot be told.

The tasks live on different data sets, so their features differ for reasons that have nothing to do with
the tasks.  A small classifier learns to tell from a feature vector which data set it came from (the inner
minimum of Eq. 4); the networks learn to make that impossible (the outer maximum).  Gradient reversal does
both in one backward pass: between features and classifier sits a layer that is the identity forwards and
multiplies the gradient by ``-coefficient`` backwards.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_lib.errors import ConfigError


class _Reverse(torch.autograd.Function):
    """Identity forwards, multiplication by ``-coefficient`` backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficient: float | Tensor) -> Tensor:
        ctx.coefficient = coefficient
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * grads[0], None


def reverse_gradient(x: Float[Tensor, "..."], coefficient: float | Tensor = 1.0) -> Float[Tensor, "..."]:
    """Return ``x`` unchanged; its gradient is multiplied by ``-coefficient``.

    Parameters
    ----------
    x : Tensor
        Any shape.
    coefficient : float or 0-dimensional Tensor, optional
        Strength of the reversal, at least 0.  At 0 nothing flows back to ``x``.

    Returns
    -------
    Tensor
        A view of ``x``.

    Examples
    --------
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> (reverse_gradient(x, 0.5) * torch.tensor([4.0, 6.0])).sum().backward()
    >>> x.grad
    tensor([-2., -3.])
    """
    return _Reverse.apply(x, coefficient)


class GradientReversal(nn.Module):
    """:func:`reverse_gradient` as a layer; set ``coefficient`` between steps to follow a schedule.

    Parameters
    ----------
    coefficient : float, optional
        Strength of the reversal.

    Examples
    --------
    >>> layer = GradientReversal(0.1)
    >>> layer.coefficient = ganin_ramp(0.5)
    >>> layer(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def __init__(self, coefficient: float = 1.0):
        super().__init__()
        self.coefficient = coefficient

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return ``x``."""
        return reverse_gradient(x, self.coefficient)

    def extra_repr(self) -> str:
        """Show the coefficient in ``repr``."""
        return f"coefficient={self.coefficient}"


def ganin_ramp(progress: float, steepness: float = 10.0) -> float:
    """Return 2 / (1 + exp(-steepness p)) - 1: the share of the full reversal to use at progress p.

    An adversary that is strong before there are features stops learning altogether; the ramp starts at 0
    and has reached 0.99 about half way (Ganin and Lempitsky's schedule; the paper gives none).

    Parameters
    ----------
    progress : float
        Share of training done, 0 to 1.
    steepness : float, optional
        How sudden the rise is.

    Returns
    -------
    float
        0 at the start, close to 1 at the end.

    Raises
    ------
    ConfigError
        If ``progress`` is not in [0, 1].

    Examples
    --------
    >>> [round(ganin_ramp(p), 2) for p in (0.0, 0.1, 0.5, 1.0)]
    [0.0, 0.46, 0.99, 1.0]
    """
    if not 0.0 <= progress <= 1.0:
        raise ConfigError(f"progress is {progress}; it must be in [0, 1]")
    return 2.0 / (1.0 + math.exp(-steepness * progress)) - 1.0


class DomainClassifier(nn.Sequential):
    """The multilayer perceptron g_Phi of Eq. (4): features - 128 - 64 - domains, ReLU between.

    Parameters
    ----------
    in_features : int
        Length of a feature vector (512 in the paper).
    hidden : sequence of int, optional
        Sizes of the hidden layers.
    domains : int, optional
        Number of data sets to tell apart.

    Raises
    ------
    ConfigError
        If there are fewer than two domains: nothing could be told apart.

    Examples
    --------
    >>> [layer.out_features for layer in DomainClassifier(512) if isinstance(layer, nn.Linear)]
    [128, 64, 2]
    """

    def __init__(self, in_features: int, hidden: Sequence[int] = (128, 64), domains: int = 2):
        if domains < 2:
            raise ConfigError(f"domains is {domains}; a domain classifier needs at least 2")
        sizes = (in_features, *hidden, domains)
        layers: list[nn.Module] = []
        for i in range(len(sizes) - 1):
            layers += [nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU()]
        super().__init__(*layers[:-1])


def placebo_domains(sizes: Sequence[int], key: Sequence[int]) -> Int64[Tensor, " N"]:
    """Return random domain labels for the stacked features of several tasks: the placebo's answer sheet.

    The true labels, permuted.  So every label is as frequent as it truly is, and which feature carries it
    is independent of where the feature came from.  An adversary trained on them has the same size, optimiser
    and schedule as the true one, and nothing to align; what it changes, alignment did not do.

    Parameters
    ----------
    sizes : sequence of int
        Number of features of each task.
    key : sequence of int
        Equal keys give equal labels: a seed, and what should change them (the step).  The global random
        numbers are left alone.

    Returns
    -------
    Tensor, int64, [N]
        One label for each row of the features stacked task after task, on the CPU.

    Raises
    ------
    ConfigError
        If the key has a negative number.

    Examples
    --------
    >>> labels = placebo_domains([2, 4], key=(0, 7))
    >>> labels.bincount(), torch.equal(labels, placebo_domains([2, 4], key=(0, 7)))
    (tensor([2, 4]), True)
    """
    if min(key, default=0) < 0:
        raise ConfigError(f"the key is {tuple(key)}; its numbers must be at least 0")
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return torch.from_numpy(np.random.default_rng(list(key)).permutation(truth))


def domain_loss(
    classifier: nn.Module,
    features: Sequence[Float[Tensor, "_ D"]],
    coefficient: float | int | Tensor = 1.0,
    labels: Int64[Tensor, " N"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return Eq. (4)'s cross-entropy over the features of all tasks, behind one gradient reversal.

    One backward pass lets the classifier descend and the networks that made ``features`` ascend, the
    latter scaled by ``coefficient``.

    Parameters
    ----------
    classifier : Module
        Maps [n, D] to logits [n, T].
    features : sequence of Tensor
        One [N_t, D] per task, t = 0 ... T-1.  The N_t may differ: the loss is the mean over domains of each
        domain's mean, so that a larger batch does not count for more (with equal N_t this is the plain mean).
    coefficient : float or Tensor, optional
        Strength of the reversal.
    labels : Tensor, int64, [N_0 + N_1 + ...], optional
        Other domain labels, 0 ... T-1, for the features stacked task after task; see
        :func:`placebo_domains`.

    Returns
    -------
    loss : Tensor
        The balanced cross-entropy in nats; log T when the classifier knows nothing.
    accuracy : Tensor
        Balanced accuracy of the classifier on these features, detached; 1 / T at chance.  A low value does
        not show that the domains are aligned: this classifier may merely be weak.

    Raises
    ------
    ConfigError
        If there are fewer than two tasks, or a task has no features, or there is not one label for each.

    Examples
    --------
    >>> blind = nn.Linear(4, 2)
    >>> _ = nn.init.zeros_(blind.weight), nn.init.zeros_(blind.bias)
    >>> loss, accuracy = domain_loss(blind, [torch.ones(3, 4), torch.zeros(5, 4)])
    >>> round(loss.item(), 4), accuracy.item()  # log 2, and one class always guessed
    (0.6931, 0.5)
    """
    sizes, tasks = [len(f) for f in features], len(features)
    if tasks < 2:
        raise ConfigError(f"domain_loss got the features of {tasks} task(s); it needs at least 2")
    if min(sizes) == 0:
        raise ConfigError("domain_loss got a task without features")
    if labels is not None and len(labels) != sum(sizes):
        raise ConfigError(f"domain_loss got {len(labels)} labels for {sum(sizes)} features")
    stacked = torch.cat(list(features))
    if labels is None:
        labels = torch.cat([torch.full((n,), t, device=stacked.device) for t, n in enumerate(sizes)])
    labels = labels.to(stacked.device, non_blocking=True)
    # One call for all tasks: classifiers with batch statistics then see the mixture, as Eq. (4) has it.
    logits = classifier(reverse_gradient(stacked, coefficient)).float()
    # Counted by comparing, because bincount would wait for the GPU.
    count = (labels[:, None] == torch.arange(tasks, device=labels.device)).sum(dim=0).clamp_min(1)
    weight = 1.0 / (tasks * count[labels])
    hit = logits.detach().argmax(dim=1) == labels
    return (weight * F.cross_entropy(logits, labels, reduction="none")).sum(), (weight * hit).sum()
