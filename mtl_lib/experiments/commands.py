"""``mtl sweep``, ``mtl table`` and ``mtl results``: the ledger from the command line."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from mtl_lib.budget import current_budget
from mtl_lib.errors import ConfigError, MtlError

# What needs torch is imported where it is used: mtl --help must not wait for it.

BudgetName = Literal["smoke", "cpu", "t4", "full"]


def ledger_folder(ledger: Path | None, budget: str, workspace: Path) -> Path:
    """Return where runs are recorded: the book's ledger, or for ``smoke``, which shows nothing, beside the runs.

    Examples
    --------
    >>> ledger_folder(None, "smoke", Path("runs/sweeps")).as_posix()
    'runs/sweeps/ledger'
    """
    if ledger is not None:
        return ledger
    if budget == "smoke":
        return workspace / "ledger"
    from mtl_lib.ledger import default_folder

    folder = default_folder()
    if folder is None:
        raise ConfigError("there is no data/results here; name a folder with --ledger, or set MTL_RESULTS")
    return folder


def run_sweep(
    name: Annotated[str, tyro.conf.Positional],
    tier: Literal["synthetic", "open", "paper"] = "synthetic",
    root: Path | None = None,
    budget: BudgetName | None = None,
    seeds: tuple[int, ...] = (),
    methods: tuple[str, ...] = (),
    shard: str = "1/1",
    ledger: Path | None = None,
    workspace: Path = Path("runs/sweeps"),
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    again: bool = False,
) -> int:
    """Run what is missing of an experiment, and record it in the ledger.

    It can be killed at any time: the same command goes on and repeats nothing that is done. Ctrl-C and SIGTERM end it
    with what is done, and with exit status 130 or 143. Several such commands may run at once.

    Parameters
    ----------
    name
        The experiment, such as table4; what it builds on (its search) is run first. "all": every experiment that there
        is for the tier, one after the other.
    tier
        Which faces.
    root
        For tiers that are read from files: the folder with the data.
    budget
        How much computing; by default MTL_BUDGET, or "cpu".
    seeds
        Which seeds; by default those that the experiment takes for the budget.
    methods
        Only these methods.
    shard
        i/n: only the i-th of n parts, for machines that do not see one another's files.
    ledger
        Folder of the ledger; by default data/results/ledger, and for smoke a folder beside the runs.
    workspace
        Where unfinished runs are kept.
    accelerator
        Device; "auto" takes a GPU if there is one.
    again
        Run also what is recorded, and replace it.
    """
    from mtl_lib.experiments.registry import EXPERIMENTS, experiment
    from mtl_lib.experiments.sweep import parse_shard, sweep

    budget = budget or current_budget()
    if name == "all":
        if seeds or methods:
            raise ConfigError("--seeds and --methods belong to one experiment; name it instead of all")
        # Every one is tried: what fails in one says nothing about the next.
        status = 0
        for each in EXPERIMENTS.values():
            if tier not in each.tiers:
                continue
            try:
                ended = run_sweep(
                    each.name, tier, root, budget, shard=shard, ledger=ledger, workspace=workspace,
                    accelerator=accelerator, again=again,
                )  # fmt: skip
            except MtlError as error:
                print(f"{each.name}: {error}")
                ended = 2
            status = max(status, ended)
        return status
    chosen, part = experiment(name), parse_shard(shard)
    folder = ledger_folder(ledger, budget, workspace)
    # A choice needs the whole search: of a shard of it, nothing could be chosen.
    for earlier in chosen.needs:
        first = sweep(
            EXPERIMENTS[earlier],
            tier,
            budget,
            root=root,
            workspace=workspace,
            folder=folder,
            accelerator=accelerator,
        )
        print(f"{earlier}: {first}")
        if first.failed or first.elsewhere:
            raise ConfigError(f"{name} builds on {earlier}, which is not complete; run this again when it is")
    result = sweep(
        chosen,
        tier,
        budget,
        seeds=seeds or None,
        methods=methods or None,
        shard=part,
        root=root,
        workspace=workspace,
        folder=folder,
        accelerator=accelerator,
        again=again,
    )
    print(f"{name}: {result}")
    print(f"recorded in {folder}")
    return 1 if result.failed else 0


def print_table(
    name: Annotated[str, tyro.conf.Positional],
    tier: Literal["synthetic", "open", "paper"] = "synthetic",
    budget: BudgetName | None = None,
    ledger: Path | None = None,
) -> None:
    """Print a table from the ledger beside the paper's.

    Parameters
    ----------
    name
        Number of the paper's table: 4.
    tier
        Which faces.
    budget
        Which runs; by default MTL_BUDGET, or "cpu".
    ledger
        Folder of the ledger.
    """
    from mtl_lib.experiments.divergence import diverged_note
    from mtl_lib.experiments.printed import TABLES
    from mtl_lib.ledger import read

    number = name.removeprefix("table")
    if number not in TABLES:
        raise ConfigError(f"no table {name!r} is made from the ledger; there is {', '.join(TABLES)}")
    budget = budget or current_budget()
    folder = ledger_folder(ledger, budget, Path("runs/sweeps"))
    printed = TABLES[number]
    entries = read(printed.experiment, folder, tier=tier, budget=budget)
    if not entries:
        there = sorted({(entry.tier, entry.budget) for entry in read(printed.experiment, folder)})
        other = " or ".join(f"mtl table {number} --tier {t} --budget {b}" for t, b in there)
        raise ConfigError(
            f"nothing is recorded for {printed.experiment}, tier {tier}, budget {budget}, in {folder}; "
            + (f"recorded is what {other} prints; for this one " if there else "")
            + f"run mtl sweep {printed.experiment} --tier {tier} --budget {budget}"
        )
    print(f"Table {number}, tier {tier}, budget {budget}")
    print(printed.text(entries))
    if note := diverged_note(entries):
        print(note)
    print("on " + "; ".join(sorted({entry.device for entry in entries})))


def check_results(ledger: Path | None = None) -> int:
    """Say what is odd about the recorded runs: configurations that no longer exist, duplicates, missing seeds.

    Notes say what is not recorded yet: tiers of an experiment without a run, and seeds that the experiment declares for a
    budget and no method has. The exit status is 1 if anything is odd; notes leave it at 0.

    Parameters
    ----------
    ledger
        Folder of the ledger; by default data/results/ledger.
    """
    from mtl_lib.experiments.checks import not_recorded, problems
    from mtl_lib.experiments.registry import EXPERIMENTS

    folder = ledger_folder(ledger, "cpu", Path("runs/sweeps"))
    found = problems(EXPERIMENTS, folder)
    print("\n".join(found) or f"{folder}: nothing odd")
    for note in not_recorded(EXPERIMENTS, folder):
        print(f"note: {note}")
    return 1 if found else 0


def print_claims(
    tiers: tuple[Literal["synthetic", "open", "paper"], ...] = ("synthetic", "open"),
    budget: BudgetName | None = None,
    ledger: Path | None = None,
    details: bool = False,
) -> None:
    """Print every claim of the paper with its verdict, computed from the ledger.

    Parameters
    ----------
    tiers
        Which faces.
    budget
        Which runs; by default, of every experiment, those of the largest budget that is recorded.
    ledger
        Folder of the ledger; by default data/results/ledger.
    details
        Print every contrast with its interval.
    """
    from mtl_lib.experiments.scorecard import claims_text
    from mtl_lib.experiments.verdicts import verdicts

    folder = ledger_folder(ledger, budget or "cpu", Path("runs/sweeps"))
    print(claims_text({tier: verdicts(tier, folder, budget) for tier in tiers}, details, whole=True))
