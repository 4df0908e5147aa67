"""Checks for the exercises: a verdict in plain words, never a traceback.

A check is a generator of :class:`Case` objects: what the reader's function gave, what was expected, what to
think about if they differ.  :func:`check` runs it, and takes an answer that is missing, that raises, or that
has the wrong type or shape, for what it is.
"""

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


def as_array(value: Any) -> np.ndarray:
    """Return a number, array or tensor as a NumPy array; integers and low precisions become float64.

    Examples
    --------
    >>> as_array(torch.tensor([1, 2], dtype=torch.bfloat16))
    array([1., 2.])
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)


def tolerance_for(*values: Any) -> float:
    """Return 1e-4 if any value is a floating-point array of fewer than 64 bits, 1e-6 otherwise.

    Examples
    --------
    >>> tolerance_for(1.0, torch.zeros(2)), tolerance_for(1.0, np.zeros(2))
    (0.0001, 1e-06)
    """
    types = [getattr(value, "dtype", None) for value in values]
    single = (torch.float32, torch.bfloat16, torch.float16, np.float32, np.float16)
    return 1e-4 if any(each == low for each in types if each is not None for low in single) else 1e-6


def largest_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return the largest absolute difference of two arrays of one shape, and the largest entry of the second.

    Examples
    --------
    >>> largest_difference(np.array([1.0, 2.0]), np.array([1.0, -4.0]))
    (6.0, 4.0)
    """
    if a.size == 0:
        return 0.0, 0.0
    return float(np.abs(a - b).max()), float(np.abs(b).max())


@dataclass(frozen=True)
class Case:
    """One thing that a check looks at.

    Parameters
    ----------
    name : str
        The situation, in words that the reader understands.
    got : object
        What the answer gave: a number, array, tensor, truth value, text or type.
    expected : object
        What is right.
    hint : str
        What to think about if they differ.
    mistakes : mapping
        What comes out after a known mistake: explanation to value.
    tolerance : float, optional
        Largest difference relative to the largest expected entry; by default by precision.

    Examples
    --------
    >>> Case("3 times 3", 6, 9, "it is a square", mistakes={"that is twice, not squared": 6}).complaint()
    'got 6, expected 9: that is twice, not squared. It is a square'
    """

    name: str
    got: Any
    expected: Any
    hint: str = ""
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float | None = None

    def complaint(self) -> str:
        """What is wrong, or the empty string if nothing is."""
        wrong = _difference(self.got, self.expected, self.tolerance)
        if not wrong:
            return ""
        known = [
            why for why, value in self.mistakes.items() if not _difference(self.got, value, self.tolerance)
        ]
        said = ": ".join([wrong, *known[:1]])
        return f"{_ended(said)} {_begun(self.hint)}" if self.hint else said


def _ended(words: str) -> str:
    """With a full stop, unless they end with a question or have one."""
    return words if words.endswith((".", "?", "!")) else f"{words}."


def _begun(words: str) -> str:
    """With a capital, unless they begin with a symbol or with code."""
    first = words.split(maxsplit=1)[0].rstrip(",:;")
    return words[0].upper() + words[1:] if first.isalpha() and len(first) > 1 else words


def _difference(got: Any, expected: Any, tolerance: float | None) -> str:
    """In words, how `got` differs from `expected`; empty if it does not."""
    if isinstance(expected, (bool, np.bool_)):
        is_truth = isinstance(got, (bool, np.bool_)) or (
            isinstance(got, torch.Tensor) and got.dtype == torch.bool and got.ndim == 0
        )
        if not is_truth:
            return f"got {_short(got)}, but the answer must be True or False"
        return "" if bool(got) == bool(expected) else f"got {bool(got)}, expected {bool(expected)}"
    if isinstance(expected, (str, torch.dtype, type, tuple)):
        return "" if got == expected else f"got {_short(got)}, expected {_short(expected)}"
    try:
        a, b = as_array(got), as_array(expected)
    except (TypeError, ValueError):
        return f"got {_short(got)}, expected {_short(expected)}"
    if a.shape != b.shape:
        return f"got the shape {a.shape}, expected {b.shape}"
    if not np.isfinite(a).all():
        return "some entries are not finite numbers (inf or nan)"
    difference, scale = largest_difference(a, b)
    allowed = tolerance_for(got, expected) if tolerance is None else tolerance
    if difference <= allowed * scale or difference <= 1e-12:
        return ""
    if a.size == 1:
        return f"got {a.item():.6g}, expected {b.item():.6g}"
    return f"the largest difference of an entry is {difference:.2g}, where entries go up to {scale:.2g}"


def _short(value: Any) -> str:
    words = " ".join(repr(value).split())
    return words if len(words) <= 60 else words[:57] + "..."


class Unanswered(Exception):
    """A stub was called, or a function forgot to return; raised by a check for an answer that acts in place."""


class _Answer:
    """The reader's function, watched: a stub is told from a mistake."""

    def __init__(self, function: Callable, returns: bool):
        self.function = function
        self.returns = returns
        self.calls = 0

    def __call__(self, *arguments, **keywords):
        result = self.function(*arguments, **keywords)
        if self.returns and (result is None or result is ...):
            raise Unanswered("The function returned nothing; if you wrote one, does it `return`?")
        self.calls += 1
        return result


def _where(error: Exception) -> str:
    """The reader's own line at which an exception arose, if it was in the reader's function."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if "mtl_lib" not in frame.filename and "site-packages" not in frame.filename
    ]
    return f" (at `{own[-1].line}`)" if own and own[-1].line else ""


def check(name: str, answer: Any, cases: Callable[[Any], Iterable[Case]], returns: bool = True) -> bool:
    """Check an answer to an exercise and print the verdict.

    Parameters
    ----------
    name : str
        Number of the exercise, for example "1.2".
    answer : object
        The reader's function or value; ``None`` and ``...`` stand for "not yet answered", also as the
        result of a function.
    cases : callable
        ``cases(answer)`` yields the :class:`Case` objects.
    returns : bool, optional
        Whether the answer is a function that returns something; one that only changes its arguments need not,
        and its cases raise :class:`Unanswered` where nothing was changed at all.

    Returns
    -------
    bool
        Whether every case came out right.

    Examples
    --------
    >>> def cases(square):
    ...     yield Case("3", square(3), 9, "times itself", mistakes={"that is twice": 6})
    >>> check("0.1", lambda x: x * x, cases)
    Exercise 0.1: right. 1 case agreed.
    True
    >>> check("0.1", lambda x: 2 * x, cases)
    Exercise 0.1: not yet. 3: got 6, expected 9: that is twice. Times itself.
    False
    >>> check("0.1", ..., cases)
    Exercise 0.1: no answer yet. Fill in the stub above and run both cells again.
    False
    """
    verdict = f"Exercise {name}:"
    if answer is None or answer is ...:
        print(f"{verdict} no answer yet. Fill in the stub above and run both cells again.")
        return False
    watched = _Answer(answer, returns) if callable(answer) else answer
    passed: list[Case] = []
    try:
        for case in cases(watched):
            if wrong := case.complaint():
                print(
                    f"{verdict} not yet. {case.name}{'' if case.name.endswith('?') else ':'} {_ended(wrong)}"
                )
                return False
            passed.append(case)
    except Unanswered as error:
        if watched.calls == 0 or not returns:
            print(f"{verdict} no answer yet. {error}")
        else:
            print(
                f"{verdict} not yet. After {passed[-1].name if passed else 'the first call'}: returned nothing."
            )
        return False
    except Exception as error:  # whatever the reader's function does, the check goes on talking
        after = f" after {len(passed)} right case{'s' * (len(passed) != 1)}" if passed else ""
        print(f"{verdict} not yet. Your answer raised {type(error).__name__}: {error}{_where(error)}{after}.")
        return False
    if not passed:
        raise AssertionError(f"the check of exercise {name} looked at nothing")
    print(f"{verdict} right. {len(passed)} case{'s' * (len(passed) != 1)} agreed.")
    return True
