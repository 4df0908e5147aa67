r"""What was used before networks learned their features: LBP, LPQ and EOH on a grid of cells, and a linear SVM.

The paper's Table 5 compares with three descriptors and gives no settings.  Here all three describe the same 4x4
cells of the same picture by histograms, so that they differ in what is counted and in nothing else:

* **LBP**, local binary patterns (Ojala et al. 2002): which of 8 neighbours on a circle are at least as
  bright as the middle.  The 58 *uniform* codes (at most two changes around the circle) have labels of their
  own, all others share one: 59 labels.
* **LPQ**, local phase quantisation (Ojansivu and Heikkilä 2008): the signs of four low Fourier coefficients of the window
  about each pixel, 8 bits.  A symmetric blur leaves those signs alone.
* **EOH**, edge orientation histograms (Levi and Weiss 2004): the directions of the grey-value gradient, each
  counted with its length.

:func:`describe` makes the vectors, :class:`LinearBaseline` classifies them.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from skimage.feature import local_binary_pattern
from sklearn.svm import LinearSVC
from torch import Tensor

from mtl_lib.errors import ConfigError, DataError
from mtl_lib.metrics import macro_recall
from mtl_lib.transforms import to_float

GRID = (4, 4)
"""Cells down and across; of 24x24 pixels each at 96x96."""

KINDS = ("lbp", "lpq", "eoh")

BINS = {"lbp": 59, "lpq": 256, "eoh": 8}
"""Length of one cell's histogram."""

Images = UInt8[Tensor, "_ 1 _ _"] | Float[Tensor, "_ 1 _ _"]


def lbp_labels(images: Images, radius: int = 2) -> Int64[Tensor, "N H W"]:
    """Uniform local binary patterns of 8 neighbours, labels 0 to 58, by scikit-image's ``nri_uniform``.

    scikit-image's ``uniform`` is another thing: it is blind to rotation and has 10 labels.

    Parameters
    ----------
    images : Tensor, [N, 1, H, W]
        ``uint8``, or float on the scale (0, 1).
    radius : int
        Of the circle of neighbours, in pixels.

    Returns
    -------
    Tensor, int64, [N, H, W]

    Examples
    --------
    >>> labels = lbp_labels(torch.randint(0, 256, (1, 1, 40, 40), dtype=torch.uint8))
    >>> labels.shape, int(labels.max()) <= 58
    (torch.Size([1, 40, 40]), True)
    """
    # 8 bits: scikit-image advises against comparing floats, which may differ where they should be equal.
    eight = (to_float(images)[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
    found = [local_binary_pattern(picture, P=8, R=radius, method="nri_uniform") for picture in eight]
    return torch.from_numpy(np.stack(found).astype(np.int64)) if found else torch.zeros(eight.shape).long()


def lpq_codes(images: Images, window: int = 7) -> Int64[Tensor, "N h w"]:
    r"""Local phase quantisation: signs of the windowed Fourier transform at four low frequencies.

    With :math:`a = 1/w` and the frequencies *u* = (a, 0), (0, a), (a, a), (a, -a), given as (x, y),

    .. math:: F(u, p) = \sum_{\lvert y \rvert_\infty \le (w-1)/2} f(p - y)\, e^{-2 \pi i\, u \cdot y},

    bit *2k* of the code is the sign of the real part of coefficient *k*, bit *2k + 1* that of the imaginary
    part.  Codes are not decorrelated (a variant that whitens the eight numbers first is also in use).

    Parameters
    ----------
    images : Tensor, [N, 1, H, W]
    window : int
        Side *w* of the window, odd, at least 3; 7 to 9 are usual for faces.

    Returns
    -------
    Tensor, int64, [N, H - w + 1, W - w + 1]
        0 to 255; pixels whose window leaves the picture have no code.

    Raises
    ------
    ConfigError
        If the window is even, too small or larger than the picture.

    Examples
    --------
    >>> dot = torch.zeros(1, 1, 3, 3)
    >>> dot[0, 0, 1, 1] = 1  # a dot in the middle: all four coefficients are 1, so bits 0, 2, 4 and 6
    >>> lpq_codes(dot, window=3)
    tensor([[[85]]])
    """
    height, width = images.shape[-2:]
    if window < 3 or window % 2 == 0 or window > min(height, width):
        raise ConfigError(
            f"the window is {window}; it must be odd, at least 3 and at most {min(height, width)}"
        )
    pixels = to_float(images)[:, 0].double()
    reach = window // 2
    # Reading f(p + y) instead of f(p - y) conjugates the wave.  It is a product, so rows first, then columns.
    angle = [2 * math.pi / window * step for step in range(-reach, reach + 1)]
    kernels = {
        "one": [1.0] * window,
        "cos": [math.cos(t) for t in angle],
        "sin": [math.sin(t) for t in angle],
    }

    def along(dim: int, name: str, values: Tensor) -> Tensor:
        length = values.shape[dim] - window + 1
        total = torch.zeros_like(values.narrow(dim, 0, length))
        for step, factor in enumerate(kernels[name]):
            total.add_(values.narrow(dim, step, length), alpha=factor)
        return total

    rows = {name: along(-1, name, pixels) for name in kernels}
    cc, cs = along(-2, "cos", rows["cos"]), along(-2, "sin", rows["cos"])
    sc, ss = along(-2, "cos", rows["sin"]), along(-2, "sin", rows["sin"])
    parts = (
        along(-2, "one", rows["cos"]), along(-2, "one", rows["sin"]),
        along(-2, "cos", rows["one"]), along(-2, "sin", rows["one"]),
        cc - ss, sc + cs,
        cc + ss, sc - cs,
    )  # fmt: skip
    # An even grey gives coefficients that are zero but for rounding; they count as not positive.
    bits = [(part > 1e-9).long() << place for place, part in enumerate(parts)]
    return sum(bits[1:], bits[0])


def edge_directions(images: Images, bins: int = 8) -> tuple[Int64[Tensor, "N H W"], Float64[Tensor, "N H W"]]:
    """The direction of the grey-value gradient at every pixel, in equal bins, and its length.

    Directions are counted modulo 180 degrees, so that a dark edge on bright ground and a bright one on dark are the
    same; bin 0 is centred on the x axis, and angles grow from there towards the y axis (downwards).

    Parameters
    ----------
    images : Tensor, [N, 1, H, W]
    bins : int
        At least 1.

    Returns
    -------
    bin : Tensor, int64, [N, H, W]
    length : Tensor, float64, [N, H, W]
        Grey values (0, 1) per pixel: central differences, one-sided at the border.

    Raises
    ------
    ConfigError
        If there is no bin.

    Examples
    --------
    >>> ramp = torch.arange(4.0).expand(1, 1, 4, 4) / 10  # brighter to the right
    >>> direction, length = edge_directions(ramp)
    >>> direction.unique().tolist(), round(length.mean().item(), 6)
    ([0], 0.1)
    """
    if bins < 1:
        raise ConfigError(f"{bins} bins; a histogram has at least 1")
    down, right = torch.gradient(to_float(images)[:, 0].double(), dim=(1, 2))
    turn = torch.atan2(down, right) / math.pi * bins  # one bin is a step of 1
    return turn.round().long() % bins, torch.hypot(down, right)


def cell_histograms(
    labels: Int64[Tensor, "N h w"],
    bins: int,
    grid: tuple[int, int] = GRID,
    weights: Float[Tensor, "N h w"] | Float64[Tensor, "N h w"] | None = None,
) -> Float[Tensor, "N D"]:
    """Count labels in each cell of a grid; every cell's histogram has length 1.

    Parameters
    ----------
    labels : Tensor, int64, [N, h, w]
        From 0 to ``bins - 1``.
    bins : int
    grid : (int, int)
        Cells down and across; where they do not divide the picture, some are a pixel larger.
    weights : Tensor, [N, h, w], optional
        What each pixel counts; by default 1.

    Returns
    -------
    Tensor, float32, [N, down * across * bins]
        Cell after cell, row by row; an empty histogram stays zero.

    Raises
    ------
    ConfigError
        If there are more cells than pixels.
    DataError
        If a label is outside its range.

    Examples
    --------
    >>> labels = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 2]]])
    >>> cell_histograms(labels, bins=3, grid=(1, 2)).round(decimals=3)
    tensor([[1.0000, 0.0000, 0.0000, 0.0000, 0.9490, 0.3160]])
    """
    count, height, width = labels.shape
    down, across = grid
    if not (1 <= down <= height and 1 <= across <= width):
        raise ConfigError(f"a grid of {down}x{across} cells does not fit {height}x{width} labels")
    if labels.numel() and not (0 <= int(labels.min()) and int(labels.max()) < bins):
        raise DataError(f"labels from {int(labels.min())} to {int(labels.max())} for {bins} bins")
    row = torch.arange(height, device=labels.device) * down // height
    column = torch.arange(width, device=labels.device) * across // width
    cell = row[:, None] * across + column[None, :]
    place = (cell * bins + labels).flatten(1)
    tally = torch.zeros(count, down * across * bins, dtype=torch.float64, device=labels.device)
    one = torch.ones_like(place, dtype=tally.dtype) if weights is None else weights.flatten(1).to(tally)
    tally.scatter_add_(1, place, one)
    lengths = tally.view(count, -1, bins).norm(dim=-1, keepdim=True)
    return (tally.view(count, -1, bins) / lengths.clamp_min(1e-12)).flatten(1).float()


def describe(
    images: Images, kind: str, grid: tuple[int, int] = GRID, batch: int = 64
) -> Float[Tensor, "N D"]:
    """One vector per picture: LBP (radius 2), LPQ (window 7) or EOH (8 bins) on a grid of cells.

    Parameters
    ----------
    images : Tensor, [N, 1, H, W]
    kind : {"lbp", "lpq", "eoh"}
    grid : (int, int)
    batch : int
        Pictures at a time.

    Returns
    -------
    Tensor, float32, [N, D]
        On a grid of 4x4 cells D is 944, 4096 or 128.

    Raises
    ------
    ConfigError
        If the kind is unknown.

    Examples
    --------
    >>> faces = torch.randint(0, 256, (2, 1, 96, 96), dtype=torch.uint8)
    >>> [describe(faces, kind).shape[1] for kind in KINDS]
    [944, 4096, 128]
    """
    if kind not in KINDS:
        raise ConfigError(f"the descriptor is {kind!r}; it must be one of {', '.join(KINDS)}")
    parts = []
    for some in images.split(batch):
        if kind == "eoh":
            labels, weights = edge_directions(some, BINS["eoh"])
        else:
            labels, weights = (lbp_labels(some) if kind == "lbp" else lpq_codes(some)), None
        parts.append(cell_histograms(labels, BINS[kind], grid, weights))
    return torch.cat(parts) if parts else torch.zeros(0, grid[0] * grid[1] * BINS[kind])


class LinearBaseline:
    """A descriptor and a linear SVM, its constant C chosen on validation data by macro-recall.

    Parameters
    ----------
    kind : {"lbp", "lpq", "eoh"}
    penalties : sequence of float
        Values of C to try (histograms go in as they are, of length 1 per cell); the smallest of equally good ones is taken.
    class_weight : "balanced" or None
        "balanced": a rare class weighs as much as a common one.  Without it an SVM on Table 2's frequencies
        mostly answers *Thinking*.

    Raises
    ------
    ConfigError
        If the kind is unknown or there is nothing to try.

    Examples
    --------
    >>> from mtl_lib.faces.synthetic import synthetic_set
    >>> faces = synthetic_set(130, size=48, intensity=(1, 1))
    >>> model = LinearBaseline("eoh").fit(faces.images[:80], faces.labels[:80], faces.images[80:], faces.labels[80:])
    >>> model.predict(faces.images[80:]).shape
    torch.Size([50])
    """

    def __init__(
        self,
        kind: str,
        penalties: Sequence[float] = (0.01, 0.1, 1.0),
        class_weight: str | None = "balanced",
    ):
        if kind not in KINDS:
            raise ConfigError(f"the descriptor is {kind!r}; it must be one of {', '.join(KINDS)}")
        if not penalties or min(penalties) <= 0:
            raise ConfigError(f"values of C to try: {list(penalties)}; give at least one, all above 0")
        self.kind, self.penalties, self.class_weight = kind, sorted(penalties), class_weight
        self.chosen: float | None = None
        self.validation: dict[float, float] = {}

    def fit(
        self,
        images: Images,
        labels: Int64[Tensor, " N"],
        validation_images: Images,
        validation_labels: Int64[Tensor, " M"],
    ) -> "LinearBaseline":
        """Train one SVM per value of C on the first pair; keep the one that does best on the second.

        Raises
        ------
        DataError
            If a part is empty or the training labels are of one class only.
        """
        if len(labels) == 0 or len(validation_labels) == 0:
            raise DataError(
                f"{len(labels)} training and {len(validation_labels)} validation pictures; both are needed"
            )
        if len(labels.unique()) < 2:
            raise DataError("all training pictures are of one class; there is nothing to tell apart")
        train, validation = (describe(x, self.kind).cpu().numpy() for x in (images, validation_images))
        best = -1.0
        for penalty in self.penalties:
            model = LinearSVC(
                C=penalty, class_weight=self.class_weight, random_state=0, tol=1e-3, max_iter=5000
            ).fit(train, labels.cpu().numpy())
            predicted = torch.from_numpy(model.predict(validation))
            self.validation[penalty] = macro_recall(validation_labels.cpu(), predicted)
            if self.validation[penalty] > best:
                best, self.chosen, self._model = self.validation[penalty], penalty, model
        return self

    def predict(self, images: Images) -> Int64[Tensor, " N"]:
        """Classes of pictures.

        Raises
        ------
        ConfigError
            If nothing was fitted.
        """
        if self.chosen is None:
            raise ConfigError("nothing has been fitted yet; call fit first")
        return torch.from_numpy(self._model.predict(describe(images, self.kind).cpu().numpy())).long()
