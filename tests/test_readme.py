"""The lines of code that the README and the API page show are run as they stand."""

import re
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[1]


def python_blocks(path: Path) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def test_the_ten_lines_of_the_readme_train_and_share():
    torch.manual_seed(0)
    (code,) = python_blocks(ROOT / "README.md")
    names: dict = {}
    exec(code, names)  # noqa: S102 (the very text a reader copies)
    net = names["shared"]
    for name, weights in net.stacks().items():
        assert len(weights) == 2
        for weight in weights:
            assert weight.grad is not None and torch.any(weight.grad != 0), f"{name} got no gradient"
    # The penalty draws the two tasks together: without it, the same lines end further apart.
    assert "penalty(" in code
    apart: dict = {}
    torch.manual_seed(0)
    exec(code.replace("+ penalty(shared.stacks())", ""), apart)  # noqa: S102

    def apart_by(namespace) -> float:
        """Sum over layers of 1 - cosine: blind to the size of the weights, which the penalty shrinks too."""
        pairs = [[w.detach().double().flatten() for w in ws] for ws in namespace["shared"].stacks().values()]
        return sum(1 - float(nn.functional.cosine_similarity(a, b, 0)) for a, b in pairs)

    assert 0 < apart_by(names) < 0.95 * apart_by(apart)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3)
        self.conv2 = nn.Conv2d(4, 4, 3)


def the_block_with(words: str) -> str:
    (code,) = [code for code in python_blocks(ROOT / "chapters/appendix/api.md") if words in code]
    return code


def test_every_block_of_the_api_page_is_run_below():
    assert len(python_blocks(ROOT / "chapters/appendix/api.md")) == 2


def test_the_lines_of_the_api_page_add_the_penalty_to_anybodys_loss():
    code = the_block_with("penalty(stacks)")
    net_a, net_b = Net(), Net()
    names = {"net_a": net_a, "net_b": net_b, "loss_a": torch.tensor(0.0), "loss_b": torch.tensor(0.0)}
    exec(code, names)  # noqa: S102
    names["loss"].backward()
    expected = 0.0
    for a, b in names["stacks"].values():
        stacked = torch.stack([a.detach().double().flatten(), b.detach().double().flatten()])
        expected += 1e-3 * torch.linalg.svdvals(stacked).sum()
        u, _, vh = torch.linalg.svd(stacked, full_matrices=False)
        torch.testing.assert_close(
            torch.stack([a.grad, b.grad]).flatten(1).double(), 1e-3 * u @ vh, rtol=1e-4, atol=1e-9
        )
    torch.testing.assert_close(names["loss"].double(), expected, rtol=1e-5, atol=0)


def test_the_five_lines_of_the_api_page_fit_into_somebody_elses_loop():
    """They run as they stand, add exactly the sub-gradient, and draw the two networks together."""
    code = the_block_with("add_gradient_")
    new = [line for line in code.splitlines() if re.search(r"# \d", line)]
    assert len(new) == 5, "the page promises five lines"

    def run(source: str) -> list[torch.Tensor]:
        torch.manual_seed(0)
        nets = [nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(2)]
        images = torch.randn(32, 1, 6, 6)
        labels = [torch.randint(3, (32,)) for _ in range(2)]
        names = {
            "net_a": nets[0],
            "net_b": nets[1],
            "batches": [(images, *labels)] * 60,
            "loss": nn.functional.cross_entropy,
            "optimiser": torch.optim.SGD([p for net in nets for p in net.parameters()], lr=0.1),
        }
        exec(source, names)  # noqa: S102
        return [net[1].weight.detach().double() for net in nets]

    def cosine(weights: list[torch.Tensor]) -> float:
        return float(nn.functional.cosine_similarity(*(w.flatten() for w in weights), 0).abs())

    with_penalty = run(code)
    without = run("\n".join(line for line in code.splitlines() if line not in new))
    assert cosine(with_penalty) > cosine(without)
    by_loss = run(
        code.replace("labels_b)).backward()", "labels_b) + penalty(stacks)).backward()").replace(
            "    penalty.add_gradient_(stacks)", "    #"
        )
    )
    for ours, theirs in zip(with_penalty, by_loss, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
