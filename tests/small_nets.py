"""Networks and pictures that are small enough for tests of sharing."""

import torch
from torch import nn

from mtl_lib.backbones import resnet34

SMALL = {"width": 2, "blocks": (1, 1, 1, 1)}


def pictures(tasks, seed=9, count=3):
    """A batch per task, of different sizes and statistics."""
    g = torch.Generator().manual_seed(seed)
    return [(1 + t) * torch.randn(count + t, 1, 32, 32, generator=g) + t for t in range(tasks)]


def small_net(seed=1):
    torch.manual_seed(seed)
    return resnet34(**SMALL)


class Plain(nn.Module):
    """Convolutions with biases, batch norm and a hidden layer, as AlexNet and VGG are built."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.MaxPool2d(4),
            nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.MaxPool2d(4),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Dropout(0.0), nn.Linear(5, 4), nn.ReLU(inplace=True)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def train(parameters, step, steps=3):
    optimiser = torch.optim.SGD(parameters, lr=0.05, momentum=0.9)
    for k in range(steps):
        optimiser.zero_grad()
        step(k).backward()
        optimiser.step()


def train_trunk(trunk, steps=3):
    batches = pictures(trunk.tasks)
    train(
        trunk.parameters(), lambda k: sum(trunk(x, t).square().mean() for t, x in enumerate(batches)), steps
    )
    return trunk
