"""From a configuration to a trunk: every way of sharing behind one interface.

Every trunk has ``tasks`` (their number), ``forward(x, task)`` (features of pictures of that task) and
``stacks()`` (layer name -> the parameters that stand there, T where every task has its own).  One backbone is drawn
from the random numbers and copied, so that all forms start from the same weights at the same seed.
"""

import torch
from torch import nn

from mtl_lib.alexnet import alexnet
from mtl_lib.backbones import resnet34, shareable_layers
from mtl_lib.config import TrainConfig
from mtl_lib.cross_stitch import cross_stitch
from mtl_lib.factorised import factorise
from mtl_lib.hard_sharing import hard_share, shared_layers
from mtl_lib.sharing import soft_share
from mtl_lib.vgg import vgg16


def make_backbone(config: TrainConfig) -> nn.Module:
    """Return one task's network, without a head, with weights drawn from torch's global random numbers.

    Parameters
    ----------
    config : TrainConfig
        Its ``backbone``, ``width``, ``kernel_init`` and ``pixels``; for ResNet ``blocks`` and ``shortcut``.

    Raises
    ------
    ConfigError
        If the architecture does not fit the pictures.

    Examples
    --------
    >>> config = TrainConfig(backbone="vgg16_bn", width=2)
    >>> make_backbone(config)(torch.zeros(2, 1, 96, 96)).shape
    torch.Size([2, 128])
    """
    if config.backbone == "resnet34":
        return resnet34(1, config.width, config.blocks, config.shortcut, config.kernel_init)
    if config.backbone == "alexnet":
        return alexnet(1, config.width, size=config.pixels, init=config.kernel_init)
    norm = config.backbone == "vgg16_bn"
    return vgg16(1, config.width, size=config.pixels, batch_norm=norm, init=config.kernel_init)


def make_trunk(config: TrainConfig, tasks: int) -> tuple[nn.Module, int]:
    """Return the trunk for ``tasks`` tasks, and the length of its feature vectors.

    Parameters
    ----------
    config : TrainConfig
        Architecture, initialisation and sharing.  Draws from torch's global random numbers.
    tasks : int
        T.

    Raises
    ------
    ConfigError
        If hard sharing is to fork after more layers than there are.

    Examples
    --------
    >>> config = TrainConfig.for_budget("smoke", sharing="hard", hard_after=4)
    >>> trunk, features = make_trunk(config, tasks=2)
    >>> trunk(torch.zeros(3, 1, 48, 48), task=1).shape, features
    (torch.Size([3, 32]), 32)
    >>> [len(weights) for weights in trunk.stacks().values()]  # the stem and two blocks; then one per task
    [1, 1, 1, 1, 1, 2, 2, 2, 2]
    """
    one = make_backbone(config)
    layers = shareable_layers(one)
    if config.sharing == "hard":
        # The paper's count leaves out the stem of ResNet; the others have none.
        stem = int(config.backbone == "resnet34")
        after = shared_layers(config.hard_after, config.hard_count, stem, len(layers))
        trunk = hard_share(one, tasks, after, layers, config.batch_norm, config.init)
    elif config.sharing == "cross_stitch":
        example = torch.zeros(1, 1, config.pixels, config.pixels)
        trunk = cross_stitch(
            one, tasks, example, layers, config.stitch_start, config.stitch_rate, config.init
        )
    elif config.sharing == "factorised":
        trunk = factorise(one, tasks, layers, config.factorisation, config.factor_tolerance)
    else:  # "single" is soft sharing to which no penalty is added
        trunk = soft_share(one, tasks, layers, config.init)
    return trunk, one.out_features
