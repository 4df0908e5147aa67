"""Shapes in type hints are checked while the tests run (jaxtyping with beartype); runs that several files look at."""

import json
import os

# Before torch is imported: two test workers on two cores must not fight over them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from jaxtyping import install_import_hook

install_import_hook("mtl_lib", "beartype.beartype")


@pytest.fixture
def toyset(monkeypatch):
    """Lets ``mtl`` know a toy set of expressions, by this name."""
    from toy_expressions import list_toys

    list_toys(monkeypatch)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with twins of 300-W and Menpo, and the toy set."""
    from toy_expressions import write_paper_sets

    return write_paper_sets(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """An uninterrupted run of each kind, made when first asked for."""
    from toy_faces import toy_config
    from toy_runs import run

    runs = {}

    def get(**overrides):
        key = json.dumps(overrides)
        if key not in runs:
            runs[key] = tmp_path_factory.mktemp("whole") / "run"
            run(runs[key], toy_config(**overrides))
        return runs[key]

    return get
