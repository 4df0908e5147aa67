"""Shapes in type hints are checked while the tests run (jaxtyping with beartype)."""

import os

# Before torch is imported: two test workers on two cores must not fight over them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook("mtl_lib", "beartype.beartype")
