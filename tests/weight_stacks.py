"""Small stacks of tasks' weights, and their gradients, for the tests of penalties."""

import matrix_samplers as samplers
import numpy as np
import torch

SHAPES = {"conv1": (6, 3, 5, 5), "conv2": (4, 6, 3, 3), "fc": (5, 7)}


def make_stacks(tasks=2, dtype=torch.float32, seed=0, shapes=SHAPES, likeness="random", difference=0.0):
    stacks = {}
    for number, (name, shape) in enumerate(shapes.items()):
        rows = samplers.related_tasks(tasks, int(np.prod(shape)), likeness, difference, seed + number)
        stacks[name] = [torch.nn.Parameter(row.view(shape).to(dtype).clone()) for row in rows]
    return stacks


def clear(stacks):
    for tensors in stacks.values():
        for tensor in tensors:
            tensor.grad = None


def gradients(stacks):
    return [tensor.grad.clone() for tensors in stacks.values() for tensor in tensors]
