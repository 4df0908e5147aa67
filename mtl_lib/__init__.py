"""Learning What to Share: tensor trace norms, soft sharing and adversarial alignment for PyTorch."""

__version__ = "0.1.0"
