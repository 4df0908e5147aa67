"""Calls with arguments that are refused, made as users make them: without the type checks of the tests.

Run as a program it prints one JSON line per call: its name, the type of what was raised, and the message.
"""

import itertools
import json

import numpy as np
import torch

from mtl_lib import polar
from mtl_lib.errors import MtlError
from mtl_lib.newton_schulz import muon_five_steps, newton_schulz
from mtl_lib.randomized import randomized_svd
from mtl_lib.regularisers import Regulariser, make_penalty
from mtl_lib.sharing_measures import layer_norms, scale_free_norm, task_cosine
from mtl_lib.task_penalties import Deviation, NormOnly
from mtl_lib.trace_norm import TraceNormPenalty, mode_norms, tensor_trace_norm
from mtl_lib.unfold import fold, paper_order, torch_order, tt_fold, tt_unfold, unfold

OTHER_TYPES = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.complex64, torch.complex128,
    torch.float8_e4m3fn,
)  # fmt: skip
GOOD = torch.ones(2, 3)

OF_A_MATRIX = {
    "value_and_polar": polar.value_and_polar,
    "trace_norm": polar.trace_norm,
    "polar_factor": polar.polar_factor,
    "singular_values": polar.singular_values,
    "effective_rank": polar.effective_rank,
    "singular_value_threshold": lambda m: polar.singular_value_threshold(m, 1.0),
    "newton_schulz": newton_schulz,
    "muon_five_steps": muon_five_steps,
    "randomized_svd": randomized_svd,
}
OF_A_TENSOR = {
    "tensor_trace_norm": tensor_trace_norm,
    "mode_norms": mode_norms,
    "TraceNormPenalty": lambda x: TraceNormPenalty()({"conv": [x, x]}),
    "TraceNormPenalty.add_gradient_": lambda x: TraceNormPenalty("tt").add_gradient_({"conv": [x, x]}),
    "TraceNormPenalty.prox_": lambda x: TraceNormPenalty().prox_({"conv": [x, x]}, 0.1),
    "TraceNormPenalty.measures": lambda x: TraceNormPenalty().measures({"conv": [x, x]}),
    "TraceNormPenalty.terms": lambda x: TraceNormPenalty().terms({"conv": [x, x]}),
    "NormOnly": lambda x: NormOnly()({"conv": [x, x]}),
    "Deviation.add_gradient_": lambda x: Deviation().add_gradient_({"conv": [x, x]}),
    "Regulariser": lambda x: Regulariser({"conv": [x, x]}, TraceNormPenalty(), pinned=True),
    "scale_free_norm": lambda x: scale_free_norm([x, x]),
    "task_cosine": lambda x: task_cosine([x, x]),
    "layer_norms": lambda x: layer_norms({"conv": [x, x]}),
}
OF_ANY_TENSOR = {
    "unfold": lambda x: unfold(x, 0),
    "tt_unfold": lambda x: tt_unfold(x, 1),
    "fold": lambda x: fold(x, 0, (2, 3)),
    "tt_fold": lambda x: tt_fold(x, 1, (2, 3)),
    "paper_order": paper_order,
    "torch_order": torch_order,
}
NO_TENSORS = {
    "a list": ([[1.0, 2.0]], "(list)"),
    "an array": (np.ones((2, 3)), "a numpy.ndarray of shape (2, 3)"),
    "None": (None, "None"),
    "a number": (2.0, "2.0 (float)"),
}
NO_NUMBERS = {
    "None": (None, "None"),
    "text": ("1", "'1' (str)"),
    "True": (True, "True (bool)"),
    "a list": ([1.0], "[1.0] (list)"),
    "complex": (1j, "1j (complex)"),
    "two": (torch.ones(2), "(2,)"),
    "below 0": (-1, "-1"),
    "a tensor below 0": (torch.tensor(-1.0), "-1.0"),
    "nan": (float("nan"), "nan"),
    "inf": (float("inf"), "inf"),
}
OF_A_NUMBER = {
    "gamma of TraceNormPenalty": ("gamma", lambda v: TraceNormPenalty("laf", v)),
    "gamma of NormOnly": ("gamma", NormOnly),
    "gamma of make_penalty": ("gamma", lambda v: make_penalty("deviation", v)),
    "tau": ("tau", lambda v: polar.singular_value_threshold(GOOD, v)),
    "rtol": ("rtol", lambda v: polar.effective_rank(GOOD, v) if v is not None else polar.effective_rank(GOOD, "x")),
    "step_size of TraceNormPenalty": ("step_size", lambda v: TraceNormPenalty().prox_({"fc": [GOOD, GOOD]}, v)),
    "step_size of Deviation": ("step_size", lambda v: Deviation().prox_({"fc": [GOOD, GOOD]}, v)),
    "a weight": ("weights[0]", lambda v: tensor_trace_norm(GOOD, weights=[v])),
    "a weight of a penalty": ("weights[1]", lambda v: TraceNormPenalty("tt", weights=[1, v])),
    "momentum": ("momentum", lambda v: Regulariser({}, momentum=v)),
}  # fmt: skip
SINGLE = {
    "weights=2.0": (lambda: tensor_trace_norm(GOOD, weights=2.0), ["weights is 2.0", "sequence"]),
    "weights by name": (lambda: TraceNormPenalty(weights={"laf": 1}), ["weights is", "dict", "sequence"]),
    "weights as text": (lambda: TraceNormPenalty("tt", weights="11"), ["weights is '11'", "sequence"]),
    "stacks as a list": (lambda: TraceNormPenalty()([GOOD]), ["(list)", "mapping", "conv1"]),
    "stacks to pin": (lambda: Regulariser([GOOD], pinned=True), ["(list)", "mapping"]),
    "no stack": (lambda: NormOnly()({"fc": None}), ["'fc'", "None", "one per task"]),
    "a stack of arrays": (lambda: Deviation()({"fc": [GOOD, GOOD.numpy()]}), ["'fc'", "task 1", "numpy.ndarray"]),
    "a penalty's name": (lambda: Regulariser({}, "laf"), ["'laf' (str)", "TraceNormPenalty"]),
    "a mode's name": (lambda: unfold(GOOD, "T"), ["mode is 'T'", "whole number"]),
    "half a mode": (lambda: fold(GOOD, 0.5, (2, 3)), ["mode is 0.5", "whole number"]),
    "True as a mode": (lambda: unfold(GOOD, True), ["mode is True", "whole number"]),
    "half a split": (lambda: tt_unfold(GOOD, 1.0), ["k is 1.0", "whole number"]),
    "no split": (lambda: tt_fold(GOOD, None, (2, 3)), ["k is None", "whole number"]),
    "no shape": (lambda: fold(GOOD, 0, None), ["shape is None", "sequence"]),
    "half a size": (lambda: fold(GOOD, 0, (2.0, 3)), ["2.0 (float)", "whole number"]),
    "a size below 0": (lambda: tt_fold(GOOD, 1, (-2, -3)), ["(-2, -3)", "below 0"]),
    "several thresholds": (lambda: polar.singular_value_threshold(GOOD, torch.ones(2)), ["tau", "(2,)"]),
    "sparse": (lambda: polar.trace_norm(GOOD.to_sparse()), ["sparse_coo", "to_dense"]),
    "full, of a proximal step": (
        lambda: Regulariser({}, TraceNormPenalty(null="full"), "proximal"), ["'full'", "proximal", "minimum"],
    ),
    "full, of no trace norm": (lambda: make_penalty("deviation", 1.0, "full"), ["'full'", "'deviation'", "minimum"]),
    "full, without null space": (
        lambda: TraceNormPenalty(method="randomized", null="full"), ["'full'", "Randomized", "minimum"],
    ),
    "an unknown null": (lambda: TraceNormPenalty(null="all"), ["'all'", "minimum", "full"]),
}  # fmt: skip


def calls():
    """All of them: name -> (what to call, what its message must hold)."""
    found = dict(SINGLE)
    for (name, function), dtype in itertools.product((OF_A_MATRIX | OF_A_TENSOR).items(), OTHER_TYPES):
        matrix = torch.ones(2, 3).to(dtype)
        found[f"{name} of {dtype}"] = lambda f=function, m=matrix: f(m), [str(dtype), "float32", "float64"]
    for name, function in OF_A_MATRIX.items():
        for shape in ((), (3,)):
            matrix = torch.ones(shape)
            found[f"{name} of shape {shape}"] = lambda f=function, m=matrix: f(m), [str(shape), "two axes"]
    everything = OF_A_MATRIX | OF_A_TENSOR | OF_ANY_TENSOR
    for (name, function), (what, (given, said)) in itertools.product(everything.items(), NO_TENSORS.items()):
        found[f"{name} of {what}"] = lambda f=function, g=given: f(g), [said, "torch.Tensor"]
    for (name, (called, function)), (what, (given, said)) in itertools.product(
        OF_A_NUMBER.items(), NO_NUMBERS.items()
    ):
        said = "'x' (str)" if called == "rtol" and given is None else said  # there None is the default
        found[f"{name} is {what}"] = lambda f=function, g=given: f(g), [f"{called} is", said, "at least 0"]
    return found


if __name__ == "__main__":
    for name, (call, _) in calls().items():
        try:
            raised, message = "nothing", str(call())
        except MtlError as error:
            raised, message = type(error).__name__, str(error)
        except Exception as error:  # what a user would get instead
            raised, message = f"another {type(error).__name__}", str(error)
        print(json.dumps([name, raised, message]))
