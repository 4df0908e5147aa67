"""AlexNet for 96x96 faces: the oldest network of the paper's Table 5.

Krizhevsky et al. (2012) in the one-column form of Krizhevsky (2014), which the well-known implementations
use: five convolutions of 64, 192, 384, 256 and 256 filters and two hidden layers of 4096 units, without
local response normalisation (of which Simonyan and Zisserman found no benefit).

What 96x96 changes: the maps are 23, 11, 11, 5, 5, 5, 5, 2 instead of 55, 27, 27, 13, 13, 13, 13, 6, so the
first hidden layer sees 2x2 positions instead of 6x6, with 4.2 instead of 37.7 million weights.  Everything else
is as it was.  The classifier, a task's own, is left out: the network ends in its last hidden layer.
"""

from jaxtyping import Float
from torch import Tensor, nn

from mtl_lib.backbone_parts import Init, check_init, check_pictures, check_sizes, he_normal_
from mtl_lib.errors import ConfigError


class AlexNet(nn.Module):
    """Five convolutions, three max pools, two hidden layers with dropout; no batch norm.

    Parameters
    ----------
    in_channels : int, optional
        Channels of the image (1 for grey).
    width : int, optional
        Filters of the first convolution; the others have 3, 6, 4 and 4 times as many.
    blocks : int, optional
        3x3 convolutions before the last pool, at least 1; the first has 6 times ``width`` filters, the others
        4 times, and a single one has 4 times.
    size : int, optional
        Side of the pictures, at least 63: below, nothing is left to pool.
    hidden : int, optional
        Units of the two hidden layers; by default 64 times ``width``.
    dropout : float, optional
        Probability of leaving out an input of a hidden layer, in training.
    init : {"fan_in", "fan_out", "equal"}, optional
        Scale of He's normal initialisation.  (The original drew all weights with standard deviation 0.01.)

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
        blocks: int = 3,
        size: int = 96,
        hidden: int | None = None,
        dropout: float | int = 0.5,
        init: Init = "fan_in",
    ):
        super().__init__()
        check_init(init)
        hidden = 64 * width if hidden is None else hidden
        check_sizes(dropout, in_channels=in_channels, width=width, blocks=blocks, hidden=hidden)
        if size < 63:
            raise ConfigError(f"size is {size}; three pools behind a stride of 4 need a side of 63 at least")
        self.init, self.size = init, size
        filters = [width, 3 * width, *([6 * width] if blocks > 1 else []), *[4 * width] * max(1, blocks - 1)]
        layers: list[nn.Module] = [
            nn.Conv2d(in_channels, filters[0], 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(filters[0], filters[1], 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        ]
        for before, after in zip(filters[1:], filters[2:], strict=False):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers, nn.MaxPool2d(3, stride=2))
        side = (size + 2 * 2 - 11) // 4 + 1
        for _ in range(3):
            side = (side - 3) // 2 + 1
        self.map_side, self.out_features = side, hidden
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(filters[-1] * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: He's normal initialisation, zero biases."""
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
            The second hidden layer behind its ReLU, [N, hidden].

        Raises
        ------
        ConfigError
            If the pictures have another side than ``size``.
        """
        check_pictures(x, self.size)
        return self.classifier(self.features(x).flatten(1))


def alexnet(
    in_channels: int = 1,
    width: int = 64,
    blocks: int = 3,
    size: int = 96,
    hidden: int | None = None,
    dropout: float | int = 0.5,
    init: Init = "fan_in",
) -> AlexNet:
    """Build AlexNet; the arguments are those of :class:`AlexNet`.

    Parameter names are torchvision's (``features.0``, ..., ``classifier.1``, ``classifier.4``); at size 224 so
    are all shapes, and torchvision's weights load but for its classifier's last layer.

    Examples
    --------
    >>> import torch
    >>> model = alexnet(width=4)
    >>> model(torch.zeros(2, 1, 96, 96)).shape, model.map_side
    (torch.Size([2, 256]), 2)
    """
    return AlexNet(in_channels, width, blocks, size, hidden, dropout, init)
