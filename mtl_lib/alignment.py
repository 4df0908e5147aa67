"""Adversarial alignment as one part of a training step: who trains the domain classifier, and on which labels.

:mod:`mtl_lib.adversary` has the pieces of Eq. (4); here they are put together for a training loop.  There
are two forms, and both push the networks in the same direction, up the loss of the classifier as it stands:

``reversal``
    The classifier belongs to the loop's optimiser.  Behind a gradient reversal one backward pass gives it the
    gradient that descends and the networks the one that ascends.
``alternating``
    The classifier has an optimiser of its own.  It takes one or several steps on the detached features (the
    inner minimum), then stands still while the networks take theirs (the outer maximum).

A step of a loop that uses either reads the same::

    features = [network(x) for network, x in zip(networks, batches)]
    alignment.inner_step_(features, progress)  # does nothing in the form "reversal"
    domain, accuracy = alignment(features, progress)
    (task_losses + domain).backward()
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mtl_lib.adversary import DomainClassifier, domain_loss, ganin_ramp, placebo_domains
from mtl_lib.config import TrainConfig
from mtl_lib.errors import ConfigError

FORMS = ("reversal", "alternating")
"""The two ways to take the steps of Eq. (4)."""


class Alignment(nn.Module):
    """The domain classifier, the strength of its reversed gradient, and the steps that train it.

    Parameters
    ----------
    features : int
        Length of a feature vector.
    domains : int
        Number of data sets, one per task.
    strength : float, optional
        Largest coefficient of the reversal (lambda), at least 0.
    ramp : bool, optional
        Let it rise by :func:`mtl_lib.adversary.ganin_ramp` instead of being constant.
    form : {"reversal", "alternating"}, optional
        See the top of this module.  In the form "alternating" the classifier's parameters do not require
        gradients: the loop's optimiser and backward pass leave them alone.
    inner_steps : int, optional
        Steps of the classifier in one :meth:`inner_step_`; only "alternating" takes any.
    lr : float, optional
        Learning rate of the classifier's own Adam; only in the form "alternating".
    placebo : bool, optional
        Train on :func:`mtl_lib.adversary.placebo_domains` instead of the true domains.
    seed : int, optional
        Seed of the placebo's labels.  They are a function of it and of ``progress``, so a resumed run draws
        the same ones.

    Raises
    ------
    ConfigError
        If there are fewer than two domains, or a number or the form is not allowed.

    Examples
    --------
    >>> alignment = Alignment(features=4, domains=2, strength=0.5)
    >>> parts = [torch.zeros(3, 4, requires_grad=True), torch.ones(5, 4)]
    >>> alignment.inner_step_(parts, progress=0.2)  # nothing, in this form
    >>> loss, accuracy = alignment(parts, progress=0.2)
    >>> loss.backward()  # the classifier descends, and what made the features ascends
    >>> round(alignment.coefficient(0.2), 3), alignment.optimiser() is None
    (0.381, True)
    """

    def __init__(
        self,
        features: int,
        domains: int,
        *,
        strength: float | int = 1.0,
        ramp: bool = True,
        form: str = "reversal",
        inner_steps: int = 1,
        lr: float | int = 1e-3,
        placebo: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        if form not in FORMS:
            raise ConfigError(f"the form of the alignment is {form!r}; it must be one of {', '.join(FORMS)}")
        if not 0 <= strength < float("inf"):
            raise ConfigError(
                f"the strength of the alignment is {strength}; it must be at least 0 and finite"
            )
        if inner_steps < 1:
            raise ConfigError(f"inner_steps is {inner_steps}; the classifier needs at least 1")
        self.classifier = DomainClassifier(features, domains=domains)
        self.strength, self.ramp, self.form = float(strength), ramp, form
        self.inner_steps, self.placebo, self.seed = inner_steps, placebo, seed
        self._optimiser: torch.optim.Optimizer | None = None
        if form == "alternating":
            self.classifier.requires_grad_(False)
            self._optimiser = torch.optim.Adam(self.classifier.parameters(), lr=lr)

    def coefficient(self, progress: float | int) -> float:
        """Return the strength of the reversal when a share ``progress`` (0 to 1) of training is done."""
        return self.strength * (ganin_ramp(progress) if self.ramp else 1.0)

    def optimiser(self) -> torch.optim.Optimizer | None:
        """Return the classifier's own optimiser, whose state a checkpoint must keep; None for "reversal".

        It is over the parameters of ``classifier``, which are named like all others in the state dict.  Move
        the module to its device before the first step.
        """
        return self._optimiser

    def forward(
        self, features: Sequence[Float[Tensor, "_ D"]], progress: float | int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the term to add to the total loss, and the classifier's balanced accuracy (detached).

        Parameters
        ----------
        features : sequence of Tensor
            One [N_t, D] per task; the N_t may differ.
        progress : float
            Share of training done, 0 to 1.

        Returns
        -------
        loss : Tensor
            The balanced cross-entropy.  Its gradient reaches the features multiplied by
            ``-coefficient(progress)``, and the classifier (in the form "reversal") as it is.
        accuracy : Tensor
            1 / T at chance.
        """
        labels = self._labels(features, progress)
        return domain_loss(self.classifier, features, self.coefficient(progress), labels)

    def inner_step_(self, features: Sequence[Float[Tensor, "_ D"]], progress: float | int) -> None:
        """Let the classifier take its own steps on these features (the min of Eq. 4), in float32.

        To be called before :meth:`forward` of the same step.  Nothing flows back to the features, and the
        classifier is left without gradients.  With several processes the gradients are averaged over them,
        so that the classifiers stay equal.

        Parameters
        ----------
        features : sequence of Tensor
            As in :meth:`forward`.
        progress : float
            Share of training done, 0 to 1; it fixes the placebo's labels.
        """
        if self._optimiser is None:
            return
        fixed = [f.detach().float() for f in features]
        labels, weights = self._labels(features, progress), list(self.classifier.parameters())
        # The loop's autocast would round these small products, and no scaler watches their gradients.
        with torch.enable_grad(), torch.autocast(fixed[0].device.type, enabled=False):
            for _ in range(self.inner_steps):
                self.classifier.requires_grad_(True)
                loss, _ = domain_loss(self.classifier, fixed, 0.0, labels)
                gradients = torch.autograd.grad(loss, weights)
                self.classifier.requires_grad_(False)
                for weight, gradient in zip(weights, _averaged(gradients), strict=True):
                    weight.grad = gradient
                self._optimiser.step()
                self._optimiser.zero_grad(set_to_none=True)

    def extra_repr(self) -> str:
        """Show the settings in ``repr``."""
        shown = f"{self.form}, strength={self.strength:g}" + (", ramp" if self.ramp else "")
        return shown + (", placebo" if self.placebo else "")

    def _labels(self, features: Sequence[Tensor], progress: float | int) -> Int64[Tensor, " N"] | None:
        if not self.placebo:
            return None
        # A whole number that tells any two steps apart, as long as there are fewer than 2^40.
        return placebo_domains([len(f) for f in features], (self.seed, round(progress * 2**40)))


def _averaged(gradients: Sequence[Tensor]) -> list[Tensor]:
    """The mean over all processes; unchanged where there is only one."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(gradients)
    for gradient in gradients:
        distributed.all_reduce(gradient)
        gradient.div_(distributed.get_world_size())
    return list(gradients)


def make_alignment(config: TrainConfig, features: int, domains: int) -> Alignment | None:
    """Return the alignment that a configuration asks for.

    Parameters
    ----------
    config : TrainConfig
        Its ``ada``, ``ada_ramp``, ``ada_form``, ``ada_inner_steps``, ``ada_lr``, ``ada_placebo``, ``seed``.
    features : int
        Length of a feature vector.
    domains : int
        Number of data sets, one per task.

    Returns
    -------
    Alignment or None
        None with a single domain or strength 0: there is nothing to align, or no wish to.

    Examples
    --------
    >>> make_alignment(TrainConfig(ada=0.3, ada_form="alternating"), features=512, domains=2)
    ... # doctest: +ELLIPSIS
    Alignment(
      alternating, strength=0.3, ramp
      (classifier): DomainClassifier(...
    >>> make_alignment(TrainConfig(ada=0.0), features=512, domains=2) is None
    True
    """
    if config.ada == 0 or domains < 2:
        return None
    return Alignment(
        features,
        domains,
        strength=config.ada,
        ramp=config.ada_ramp,
        form=config.ada_form,
        inner_steps=config.ada_inner_steps,
        lr=config.ada_lr,
        placebo=config.ada_placebo,
        seed=config.seed,
    )
