"""Sphinx extension: a docstring may name anything that exists in the package, also what the API page leaves out.

Such a name is shown as code, without a link. A name that does not exist stays a warning, hence an error.
"""

import importlib

from sphinx.application import Sphinx


def exists(dotted: str) -> bool:
    """Whether a dotted name can be imported: a module, or something in one."""
    module, rest = dotted, []
    while module:
        try:
            found = importlib.import_module(module)
        except ImportError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
            continue
        for name in rest:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def plain_name(app: Sphinx, env, node, contnode):
    target = node.get("reftarget", "")
    candidates = [
        target,
        f"{node.get('py:module')}.{target}",
        f"{node.get('py:module')}.{node.get('py:class')}.{target}",
    ]
    own = node.get("refdomain") == "py"
    return contnode if own and any(c.startswith("mtl_lib.") and exists(c) for c in candidates) else None


def setup(app: Sphinx) -> dict:
    app.connect("missing-reference", plain_name)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
