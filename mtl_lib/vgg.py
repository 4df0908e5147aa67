"""VGG-16 for 96x96 faces, with or without batch norm: the second network of the paper's Table 5.

Simonyan and Zisserman (2015), configuration D: thirteen 3x3 convolutions in five groups, a max pool behind
each, two hidden layers of 4096 units.

What 96x96 changes: the five pools leave 3x3 positions instead of 7x7 (96 -> 48 -> 24 -> 12 -> 6 -> 3), so
the first hidden layer has 18.9 instead of 102.8 million weights.  Everything else is as it was.  The classifier,
a task's own, is left out: the network ends in its last hidden layer.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from mtl_lib.backbone_parts import Init, check_init, check_pictures, check_sizes, he_normal_
from mtl_lib.errors import ConfigError


class VGG(nn.Module):
    """Groups of 3x3 convolutions with a max pool behind each, then two hidden layers with dropout.

    Parameters
    ----------
    in_channels : int, optional
        Channels of the image (1 for grey).
    width : int, optional
        Filters of the first group; the groups have ``width * (1, 2, 4, 8, 8)``.
    blocks : sequence of int, optional
        Convolutions per group, five groups: (2, 2, 3, 3, 3) makes VGG-16, (1, 1, 2, 2, 2) VGG-11.
    size : int, optional
        Side of the pictures, at least 32: five pools halve it five times.
    batch_norm : bool, optional
        Whether each convolution is followed by batch norm.  The original, which is older, has none; then the
        scale of a kernel matters to the output, and penalties that shrink kernels do what they say.
    hidden : int, optional
        Units of the two hidden layers; by default 64 times ``width``.
    dropout : float, optional
        Probability of leaving out an input of a hidden layer's successor, in training.
    init : {"fan_in", "fan_out", "equal"}, optional
        Scale of He's normal initialisation.

    Attributes
    ----------
    out_features : int
        Length of a feature vector, ``hidden``.
    map_side : int
        Side of the last map, which the first hidden layer sees whole.

    Raises
    ------
    ConfigError
        If an argument is out of its range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 3, 3, 3),
        size: int = 96,
        batch_norm: bool = False,
        hidden: int | None = None,
        dropout: float | int = 0.5,
        init: Init = "fan_in",
    ):
        super().__init__()
        check_init(init)
        hidden = 64 * width if hidden is None else hidden
        check_sizes(dropout, in_channels=in_channels, width=width, hidden=hidden)
        if len(blocks) != 5 or min(blocks) < 1:
            raise ConfigError(f"blocks is {tuple(blocks)}; it must be five counts, each at least 1")
        if size < 32:
            raise ConfigError(f"size is {size}; five pools halve the picture five times and need 32 at least")
        self.init, self.size = init, size
        layers: list[nn.Module] = []
        before, side = in_channels, size
        for factor, count in zip((1, 2, 4, 8, 8), blocks, strict=True):
            for _ in range(count):
                # Its bias goes where batch norm would take it out again; kept, as in the known implementations.
                layers.append(nn.Conv2d(before, factor * width, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(factor * width))
                layers.append(nn.ReLU(inplace=True))
                before = factor * width
            layers.append(nn.MaxPool2d(2, stride=2))
            side //= 2
        self.features = nn.Sequential(*layers)
        self.map_side, self.out_features = side, hidden
        self.classifier = nn.Sequential(
            nn.Linear(before * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: He's normal initialisation, zero biases, 1 and 0 for batch norm."""
        he_normal_(self, self.init)

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Return the feature vector of each image.

        Parameters
        ----------
        x : Tensor
            Normalised images, [N, in_channels, size, size].

        Returns
        -------
        Tensor
            The second hidden layer behind ReLU and dropout, [N, hidden].

        Raises
        ------
        ConfigError
            If the pictures have another side than ``size``.
        """
        check_pictures(x, self.size)
        return self.classifier(self.features(x).flatten(1))


def vgg16(
    in_channels: int = 1,
    width: int = 64,
    blocks: Sequence[int] = (2, 2, 3, 3, 3),
    size: int = 96,
    batch_norm: bool = False,
    hidden: int | None = None,
    dropout: float | int = 0.5,
    init: Init = "fan_in",
) -> VGG:
    """Build VGG-16; the arguments are those of :class:`VGG`.

    Parameter names are torchvision's (``features.0``, ..., ``classifier.0``, ``classifier.3``); at size 224 so
    are all shapes, and torchvision's weights load but for its classifier's last layer.

    Examples
    --------
    >>> import torch
    >>> model = vgg16(width=4, batch_norm=True)
    >>> model(torch.zeros(2, 1, 96, 96)).shape, model.map_side
    (torch.Size([2, 256]), 3)
    """
    return VGG(in_channels, width, blocks, size, batch_norm, hidden, dropout, init)
