"""What can go wrong, one type per kind, with messages a reader can act on.

Every error that a user of the package can cause derives from :class:`MtlError`.  The command ``mtl``
prints its message without a traceback and exits with status 2; anything else is a bug and shows one.
"""

import os
import signal


class MtlError(Exception):
    """Base class: something that the user can put right.

    Examples
    --------
    >>> try:
    ...     raise ConfigError("gamma is -1; it must be at least 0")
    ... except MtlError as error:
    ...     print(error)
    gamma is -1; it must be at least 0
    """


class DataError(MtlError):
    """A file, a folder or a label is missing, damaged or not what it should be.

    Parameters
    ----------
    message : str
        What is wrong and what to do.
    path : path-like, optional
        The file or folder at fault.
    line : int, optional
        The line in that file, counted from 1.

    Examples
    --------
    >>> print(DataError("67 points, 68 expected", path="face.pts", line=4))
    face.pts:4: 67 points, 68 expected
    """

    def __init__(self, message: str, path: str | os.PathLike | None = None, line: int | None = None):
        where = "" if path is None else os.fspath(path)
        if line is not None:
            where += f":{line}"
        super().__init__(f"{where}: {message}" if where else message)
        self.path = path
        self.line = line


class ConfigError(MtlError):
    """A setting has a value that is not allowed."""


class CheckpointError(MtlError):
    """A checkpoint is missing, damaged or belongs to another configuration."""


class DivergenceError(MtlError):
    """Training produced a value that is not finite; the last good state is kept."""


class Interrupted(KeyboardInterrupt):
    """The user, or the system, wants the program to end: Ctrl-C or SIGTERM.  What is done is kept.

    It is no :class:`MtlError`, and no ``Exception``: whoever goes on after an error must not go on after this.

    Parameters
    ----------
    message : str
        What is kept, and how to go on.
    number : int, optional
        The signal.

    Examples
    --------
    >>> Interrupted("stopped", signal.SIGTERM).status, Interrupted("stopped").status
    (143, 130)
    """

    def __init__(self, message: str, number: int = signal.SIGINT):
        super().__init__(message)
        self.number = int(number)

    @property
    def status(self) -> int:
        """The exit status that a shell gives to a program that a signal ended."""
        return 128 + self.number
