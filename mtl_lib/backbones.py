"""ResNet-34 for 96x96 faces: the architecture that every task's network copies (Section 2.4 of the paper).

He et al.'s 34-layer residual network with two adaptations.  The last average pool covers 3x3 positions
instead of 7x7, because a 96x96 face arrives there as a 3x3 map (96 -> 48 -> 24 -> 24 -> 12 -> 6 -> 3), and
the default shortcut has no parameters (He's option A), so that the 33 numbered convolutions are *all* the
convolutions and "trace norm on all the 33 shareable layers" is literally true.

The layers are numbered as in the paper's Fig. 3: 1 is the 7x7 stem, then two per block in order.
AlexNet and VGG, the other two networks of Table 5, have modules of their own; :func:`shareable_layers`
numbers the layers of all three.
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_lib.backbone_parts import Init, check_init, check_pictures, he_normal_
from mtl_lib.errors import ConfigError

Shortcut = Literal["A", "B"]


class ZeroPadShortcut(nn.Module):
    """Option A: take every ``stride``-th position and append channels of zeros; nothing to learn.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after; ``out_channels >= in_channels``.
    stride : int
        Spatial stride.

    Examples
    --------
    >>> import torch
    >>> ZeroPadShortcut(2, 3, stride=2)(torch.ones(1, 2, 4, 4)).sum(dim=(2, 3))
    tensor([[4., 4., 0.]])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.added, self.stride = out_channels - in_channels, stride

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N M h w"]:
        """Return the strided input with zero channels appended."""
        # F.pad counts axes from the last one: no padding for W and H, `added` planes after the channels.
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm, around which a shortcut runs: relu(f(x) + shortcut(x)).

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    stride : int, optional
        Stride of the first convolution and of the shortcut.
    shortcut : {"A", "B"}, optional
        What to do where the shapes differ: A pads with zeros, B projects with a 1x1 convolution.

    Examples
    --------
    >>> import torch
    >>> BasicBlock(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "A"):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            if shortcut == "A":
                self.downsample = ZeroPadShortcut(in_channels, out_channels, stride)
            else:
                projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
                self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N M h w"]:
        """Return the block's output."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + identity)


class ResNet(nn.Module):
    """A residual network of basic blocks that ends in pooled features, without a classifier.

    Parameters
    ----------
    in_channels : int, optional
        Channels of the image (1 for grey).
    width : int, optional
        Filters of the stem and of the first stage; the stages have ``width * (1, 2, 4, 8)``.
    blocks : sequence of int, optional
        Blocks per stage, four stages: (3, 4, 6, 3) makes ResNet-34, (2, 2, 2, 2) ResNet-18.
    shortcut : {"A", "B"}, optional
        Shortcut where the shape changes; see :class:`BasicBlock`.
    init : {"fan_in", "fan_out", "equal"}, optional
        Which count of connections scales He's normal initialisation; see :meth:`reset_parameters`.
    size : int, optional
        Side of the pictures, if others are to be refused.  By default any side from 32 up will do: nothing in
        the network depends on it but the area of the last average (3x3 at 96, 7x7 at 224).

    Attributes
    ----------
    out_features : int
        Length of a feature vector, ``8 * width``.

    Raises
    ------
    ConfigError
        If an argument is not one of the above, or a count is below 1, or ``size`` is below 32.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        blocks: Sequence[int] = (3, 4, 6, 3),
        shortcut: Shortcut = "A",
        init: Init = "fan_in",
        size: int | None = None,
    ):
        super().__init__()
        if shortcut not in ("A", "B"):
            raise ConfigError(f"shortcut is {shortcut!r}; it must be 'A' (zero padding) or 'B' (projection)")
        check_init(init)
        if len(blocks) != 4 or min(blocks) < 1:
            raise ConfigError(f"blocks is {tuple(blocks)}; it must be four counts, each at least 1")
        if width < 1 or in_channels < 1:
            raise ConfigError(f"width is {width} and in_channels {in_channels}; both must be at least 1")
        if size is not None and size < 32:
            raise ConfigError(
                f"size is {size}; the network halves the picture five times and needs 32 at least"
            )
        self.init, self.size = init, size
        self.out_features = 8 * width
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for stage, count in enumerate(blocks):
            out = width * 2**stage
            layer = []
            for block in range(count):
                # Each later stage halves the map once, in the first convolution of its first block.
                stride = 2 if stage > 0 and block == 0 else 1
                layer.append(BasicBlock(channels, out, stride, shortcut))
                channels = out
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: He's normal initialisation for convolutions, 1 and 0 for batch norm.

        The paper does not state its initialisation.  ``fan_in`` (the default, and that of TensorFlow's
        variance scaling, the paper's framework) gives every kernel an expected squared Frobenius norm of
        2 * filters; ``fan_out`` (torchvision's choice) gives 2 * input channels, which makes the stem's
        norm small against all others.  The choice decides how fast a trace norm can shrink each layer.
        """
        he_normal_(self, self.init)

    def stages(self, x: Float[Tensor, "N C H W"]) -> list[Float[Tensor, "N _ _ _"]]:
        """Return the maps after the stem, the max pool and the four stages (48, 24, 24, 12, 6, 3 for 96)."""
        check_pictures(x, self.size)
        maps = [self.relu(self.bn1(self.conv1(x)))]
        maps.append(self.maxpool(maps[-1]))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Return the feature vector of each image.

        Parameters
        ----------
        x : Tensor
            Normalised images, shape [N, in_channels, H, W]; made for H = W = 96.

        Returns
        -------
        Tensor
            Features [N, 8 * width]: the mean over the last map, which at 96x96 is the paper's 3x3 average
            pool.  The mean covers whatever map another image size leaves, so any size from 32 up works.

        Raises
        ------
        ConfigError
            If the network was built for a ``size`` and the pictures have another.
        """
        return self.stages(x)[-1].mean(dim=(2, 3))


def resnet34(
    in_channels: int = 1,
    width: int = 64,
    blocks: Sequence[int] = (3, 4, 6, 3),
    shortcut: Shortcut = "A",
    init: Init = "fan_in",
    size: int | None = None,
) -> ResNet:
    """Build the paper's backbone; the arguments are those of :class:`ResNet`.

    Parameter names are torchvision's (``conv1``, ``bn1``, ``layer1.0.conv1``, ``layer2.0.downsample.0``...),
    and with ``shortcut="B"`` so is the network: weights saved by either load into the other, but for
    torchvision's classifier ``fc``, which a backbone does not have (``load_state_dict(..., strict=False)``).

    Examples
    --------
    >>> import torch
    >>> model = resnet34(width=4)
    >>> model(torch.zeros(2, 1, 96, 96)).shape
    torch.Size([2, 32])
    >>> [tuple(m.shape[2:]) for m in model.stages(torch.zeros(1, 1, 96, 96))]
    [(48, 48), (24, 24), (24, 24), (12, 12), (6, 6), (3, 3)]
    """
    return ResNet(in_channels, width, blocks, shortcut, init, size)


def shareable_layers(model: nn.Module) -> list[str]:
    """Name the weights of the numbered layers: entry i is layer i + 1, in forward order.

    ResNet: the stem and the two 3x3 convolutions of every block, the 33 layers of the paper's Fig. 3 for
    ResNet-34.  The 1x1 projections of shortcut B are not among them; nobody numbers them.  AlexNet and VGG: the
    convolutions, then the hidden fully connected layers, which are as much a part of what tasks can share (7
    for AlexNet, 15 for VGG-16; the last, the classifier, belongs to a task).

    Parameters
    ----------
    model : Module
        One of the backbones.

    Returns
    -------
    list of str
        Parameter names.

    Examples
    --------
    >>> names = shareable_layers(resnet34(width=4))
    >>> len(names), names[0], names[9], names[19], names[29]  # doctest: +NORMALIZE_WHITESPACE
    (33, 'conv1.weight', 'layer2.1.conv1.weight', 'layer3.2.conv1.weight', 'layer4.1.conv1.weight')
    """
    return [
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and "downsample" not in name.split(".")
    ]
