r"""What is done about the stacked weights in a training step: a penalty, how it is followed, and pinned norms.

The order within a step, with learning rate :math:`\eta_k`::

    backward, unscale            the tasks' gradients
    regulariser.add_gradient_    + gamma_k times a sub-gradient                 (step = "subgradient")
    optimiser.step()
    regulariser.after_step_      proximal step, then norms back to their start  (step = "proximal", pinned)

**Proximal steps and momentum.**  The proximal step knows nothing of momentum, while a sub-gradient goes through
the buffer: a steady push :math:`\gamma_1, \gamma_2, \dots` has become :math:`p_k = \mu p_{k-1} + \gamma_k` at step
k, which for a constant gamma is :math:`\gamma (1 - \mu^k)/(1 - \mu)`.  So that one gamma means one strength either way,
the proximal step is taken with :math:`\eta_k p_k`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mtl_lib import task_rows
from mtl_lib.arguments import at_least_zero, described, layers
from mtl_lib.config import TrainConfig
from mtl_lib.errors import CheckpointError, ConfigError
from mtl_lib.sharing_measures import Measures
from mtl_lib.task_penalties import Deviation, NormOnly, length
from mtl_lib.trace_norm import KINDS, TraceNormPenalty

Stacks = Mapping[str, Sequence[Tensor]]
Penalty = TraceNormPenalty | NormOnly | Deviation


def strength(config: TrainConfig, step: int) -> float:
    """Return gamma at a step (0, 1, ...): constant, or on its way from ``gamma`` to ``gamma_end``.

    Examples
    --------
    >>> config = TrainConfig(gamma=3.0, gamma_end=0.03, gamma_schedule="exponential", steps=100)
    >>> [round(strength(config, step), 3) for step in (0, 50, 100)]
    [3.0, 0.3, 0.03]
    """
    if config.gamma_schedule == "constant":
        return config.gamma
    progress = step / config.steps
    if config.gamma_schedule == "linear":
        return config.gamma + (config.gamma_end - config.gamma) * progress
    return config.gamma * (config.gamma_end / config.gamma) ** progress


def make_penalty(kind: str, gamma: float, null: str = "minimum") -> Penalty:
    """Return the penalty of that name.

    Parameters
    ----------
    kind : {"laf", "tucker", "tt", "norm_only", "deviation"}
        See :class:`mtl_lib.trace_norm.TraceNormPenalty` and :mod:`mtl_lib.task_penalties`.
    gamma : float
        Its strength.
    null : {"minimum", "full"}, optional
        Of a trace norm; see :class:`mtl_lib.trace_norm.TraceNormPenalty`.  The others have but one sub-gradient here.

    Raises
    ------
    ConfigError
        For another name, a gamma that is no number, negative or not finite, or a `null` that this penalty lacks.

    Examples
    --------
    >>> make_penalty("deviation", 0.1)
    Deviation(gamma=0.1)
    """
    if kind in KINDS:
        return TraceNormPenalty(kind, gamma, null=null)
    own = {"norm_only": NormOnly, "deviation": Deviation}
    if kind not in own:
        raise ConfigError(f"the penalty is {kind!r}; it must be one of {', '.join([*KINDS, *own])}")
    if null != "minimum":
        raise ConfigError(
            f"null is {null!r}, but the penalty {kind!r} is no trace norm; it must be 'minimum'"
        )
    return own[kind](gamma)


class Regulariser:
    """A penalty and pinned norms over a whole run; made by :func:`make_regulariser`.

    Parameters
    ----------
    stacks : mapping of str to sequence of Tensor
        For every layer its T tasks' weights, at the start of the run: their lengths are what pinning keeps.
    penalty : TraceNormPenalty, NormOnly, Deviation or None, optional
        None: no penalty.
    step : {"subgradient", "proximal"}, optional
        How the penalty is followed.
    pinned : bool, optional
        Scale every weight back to its initial Frobenius norm after each step.  With the deviation penalty a
        layer's tasks share one norm, the mean of their initial ones: equal tasks must stay equal.
    momentum : float, optional
        The optimiser's, for the length of proximal steps.
    strength : callable, optional
        Step number (from 0) -> gamma; by default the penalty's own, always.

    Raises
    ------
    ConfigError
        If ``step`` is unknown, the penalty or the stacks are none, the penalty has no proximal step (Tucker and TT
        have none), or it is to be followed by proximal steps and has ``null="full"``, which they know nothing of.

    Examples
    --------
    >>> w = [torch.nn.Parameter(torch.tensor([3.0, 0.0])), torch.nn.Parameter(torch.tensor([0.0, 3.0]))]
    >>> regulariser = Regulariser({"fc": w}, TraceNormPenalty("laf", gamma=0.1), pinned=True)
    >>> regulariser.add_gradient_({"fc": w}), w[0].grad
    (tensor(0.6000), tensor([0.1000, 0.0000]))
    >>> _ = w[0].data.mul_(0.5)
    >>> regulariser.after_step_({"fc": w}, rate=0.1)
    >>> w[0].data
    tensor([3., 0.])
    """

    def __init__(
        self,
        stacks: Stacks,
        penalty: Penalty | None = None,
        step: str = "subgradient",
        pinned: bool = False,
        momentum: float = 0.0,
        strength: Callable[[int], float] | None = None,
    ):
        if step not in ("subgradient", "proximal"):
            raise ConfigError(f"step is {step!r}; it must be 'subgradient' or 'proximal'")
        if penalty is not None and not isinstance(penalty, Penalty):
            raise ConfigError(
                f"the penalty is {described(penalty)}; it must be a TraceNormPenalty, NormOnly or Deviation, or None"
            )
        for name, tensors in layers(stacks).items():
            task_rows.check(name, tensors)
        if step == "proximal" and getattr(penalty, "kind", "laf") != "laf":
            raise ConfigError(
                f"{penalty.kind!r} is a sum of several trace norms, which has no proximal step; use"
                " step='subgradient', or the penalty 'laf'"
            )
        if step == "proximal" and getattr(penalty, "null", "minimum") != "minimum":
            raise ConfigError(
                "the penalty's null is 'full', a choice of sub-gradient, and a proximal step takes none; use"
                " step='subgradient', or null='minimum'"
            )
        self.penalty, self.proximal = penalty, step == "proximal"
        self.momentum = at_least_zero(momentum, "momentum")
        constant = getattr(penalty, "gamma", 0.0)
        self.strength = strength or (lambda _: constant)
        self.pins: Tensor | None = None
        if pinned:
            with torch.no_grad():
                found = [self._lengths(tensors) for tensors in stacks.values()]
                if isinstance(penalty, Deviation):
                    found = [lengths.mean().expand(len(lengths)) for lengths in found]
                self.pins = torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)
        self.steps, self.push = 0, 0.0

    @staticmethod
    def _lengths(tensors: Sequence[Tensor]) -> Float[Tensor, " T"]:
        # As they lie in memory: a channels-last kernel would be copied to be flattened in its logical order.
        return torch.stack([length(row) for row in task_rows.flat(tensors)[0]])

    @torch.no_grad()
    def add_gradient_(self, stacks: Stacks) -> Float[Tensor, ""]:
        """Add gamma times the sub-gradient to every ``.grad``, unless proximal steps are taken.

        Call it once per optimiser step, after ``backward`` and unscaling.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights.

        Returns
        -------
        Tensor
            The penalty's value, times gamma; 0 without a penalty, and nothing is then touched.
        """
        if self.penalty is None or not stacks:
            return next((t[0].new_zeros(()) for t in stacks.values()), torch.zeros(()))
        self.penalty.gamma = self.strength(self.steps)
        if not self.proximal:
            return self.penalty.add_gradient_(stacks)
        if isinstance(self.penalty, TraceNormPenalty):  # all layers in one pass; LAF has a single term
            return self.penalty.gamma * torch.cat(list(self.penalty.terms(stacks).values())).sum()
        return self.penalty(stacks)

    @torch.no_grad()
    def after_step_(self, stacks: Stacks, rate: float | int) -> None:
        """Take the proximal step, if there is one, and scale the weights back to the pinned norms.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights; changed in place.
        rate : float
            The learning rate of the optimiser's step that has just been taken.
        """
        if self.penalty is not None:
            gamma = self.strength(self.steps)
            self.push = self.momentum * self.push + gamma
            # A kernel's length under pinning is not for the norm-only penalty to change.
            if self.proximal and not (self.pins is not None and isinstance(self.penalty, NormOnly)):
                self.penalty.gamma = self.push
                self.penalty.prox_(stacks, rate)
                self.penalty.gamma = gamma
        if self.pins is not None:
            pins = iter(self.pins)
            for tensors in stacks.values():
                for tensor, size in zip(tensors, self._lengths(tensors), strict=True):
                    # A kernel of zeros has no direction to be scaled along, and stays.
                    factor = torch.where(size > 0, next(pins) / torch.where(size > 0, size, 1), 1)
                    tensor.mul_(factor.to(tensor.dtype))
        self.steps += 1

    def trace_norms(self, stacks: Stacks) -> Float[Tensor, " terms"]:
        """Return the trace norm of every unfolding, summed over layers, without gamma: for a log.

        Those of the penalty's kind; LAF's where it is no trace norm.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights.
        """
        return sum(self._norm().terms(stacks).values(), torch.zeros(()))

    def measures(self, stacks: Stacks) -> dict[str, Measures]:
        """Return every layer's trace norms and scale-free measures of sharing, for a log.

        Parameters
        ----------
        stacks : mapping of str to sequence of Tensor
            For every layer its T tasks' weights.
        """
        return self._norm().measures(stacks)

    def _norm(self) -> TraceNormPenalty:
        return self.penalty if isinstance(self.penalty, TraceNormPenalty) else TraceNormPenalty("laf", 0.0)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep: steps done, the push of proximal steps, and the pins."""
        state = {"steps": torch.tensor(self.steps), "push": torch.tensor(self.push, dtype=torch.float64)}
        return state if self.pins is None else {**state, "pins": self.pins}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`state` was taken.

        Parameters
        ----------
        state : mapping of str to Tensor
            From a regulariser of the same kind over the same layers.

        Raises
        ------
        CheckpointError
            If something is missing, or the pins are of another number of weights.
        """
        own = self.state()
        wrong = sorted(
            key
            for key in own.keys() | state.keys()
            if key not in own or key not in state or own[key].shape != state[key].shape
        )
        if wrong:
            raise CheckpointError(f"the regulariser's state does not fit: {', '.join(wrong)}")
        self.steps, self.push = int(state["steps"]), float(state["push"])
        if self.pins is not None:
            self.pins = state["pins"].to(self.pins)


def make_regulariser(config: TrainConfig, stacks: Stacks) -> Regulariser:
    """Return the regulariser of a configuration, with the present norms of ``stacks`` as pins.

    Parameters
    ----------
    config : TrainConfig
        Its ``sharing``, ``norm``, ``gamma`` and its schedule, ``penalty_step``, ``penalty_null``, ``pinned``,
        ``momentum``.
    stacks : mapping of str to sequence of Tensor
        From the networks' ``stacks()``.  Only soft sharing is penalised; pinning holds for all.

    Returns
    -------
    Regulariser
        For one run.

    Raises
    ------
    ConfigError
        If the penalty has no proximal step.

    Examples
    --------
    >>> w = {"fc": [torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2)]}
    >>> make_regulariser(TrainConfig(norm="norm_only", gamma=0.5), w).add_gradient_(w)
    tensor(2.)
    >>> make_regulariser(TrainConfig(sharing="single", gamma=0.5), w).penalty is None
    True
    """
    penalty = None
    if config.sharing == "soft" and max(strength(config, 0), strength(config, config.steps)) > 0:
        penalty = make_penalty(config.norm, config.gamma, config.penalty_null)
    return Regulariser(
        stacks,
        penalty,
        config.penalty_step if penalty is not None else "subgradient",
        config.pinned,
        config.momentum,
        lambda step: strength(config, step),
    )
