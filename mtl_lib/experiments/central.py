"""The paper's central contrasts, named before their runs, on as many new seeds as the spread asks for.

Table 4 has three seeds; its paired differences spread so widely that only effects of ten points would show.  Here eight of
its arms, each as the search for Table 4 tuned it, meet on sixteen seeds that nothing else used.  :data:`CONTRASTS` is the
family: the differences in macro-recall of the test people, with 95 % intervals for each by itself and Holm's procedure for
all of them.  The accuracy of the same contrasts is reported beside it, because the paper's claims are about accuracy; it
decides nothing.
"""

import functools
from collections.abc import Iterable

from mtl_lib.experiments.base import Experiment
from mtl_lib.experiments.face_runs import DEFAULTS, run_faces
from mtl_lib.experiments.table4 import SEARCH, tuned_jobs
from mtl_lib.experiments.tables import contrast
from mtl_lib.ledger import Entry
from mtl_lib.seeds import Spread

NAME = "central"

METRIC = "macro_recall"
"""The one measure that decides."""

CONTRASTS: dict[str, tuple[str, str]] = {
    "sharing by the trace norm": ("laf", "single"),
    "and alignment": ("laf+ada", "single"),
    "its coupling": ("laf", "norm_only"),
    "alignment": ("laf+ada", "laf"),
    "what the adversary is told": ("laf+ada", "laf+placebo"),
    "against the paper's best hard form": ("laf", "hard1"),
    "against all shared, norms apart": ("laf", "hard4_private"),
    "against cross-stitch": ("laf", "cross_stitch"),
}
"""What is asked, and which arm is claimed to be better than which.  ``norm_only`` and ``laf+placebo`` are the controls of
``laf`` and ``laf+ada``: the same settings without the one thing."""

ARMS = tuple(dict.fromkeys(arm for pair in CONTRASTS.values() for arm in pair))

SEEDS = {"smoke": (30,), **dict.fromkeys(("cpu", "t4", "full"), tuple(range(30, 46)))}
"""No seed of Table 4, of its search, or of the experiment ``confirmation``."""


def central_contrasts(entries: Iterable[Entry], metric: str = METRIC) -> dict[str, Spread]:
    """Return the paired differences of :data:`CONTRASTS`, over the seeds that both arms have.

    Parameters
    ----------
    entries : iterable of Entry
        Runs of this experiment, of one tier and budget.
    metric : str, optional

    Returns
    -------
    dict of str to Spread
        Without the contrasts that have no run.

    Examples
    --------
    >>> central_contrasts([])
    {}
    """
    entries = list(entries)
    found = {name: contrast(entries, metric, first, second) for name, (first, second) in CONTRASTS.items()}
    return {name: spread for name, spread in found.items() if spread is not None}


CENTRAL = Experiment(
    name=NAME,
    title="the paper's central contrasts with their controls, named beforehand, on sixteen new seeds",
    seeds=SEEDS,
    jobs=functools.partial(tuned_jobs, NAME, ARMS),
    run=run_faces,
    needs=(SEARCH,),
    defaults=DEFAULTS,
)
