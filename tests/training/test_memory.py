"""Less memory for more time: gradients that stay what they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

pytest.importorskip("accelerate", reason="training needs the extra `train`")

from ldznet_core.head import AnyHead
from ldznet_core.training import Plan, train

from ..core.tiny import compact_inputs, tiny_compact_head, tiny_head, tiny_inputs


@pytest.mark.parametrize("kind", ["ldznet", "compact"])
def test_computing_twice_changes_no_gradient_and_no_name(kind: str) -> None:
    head: AnyHead = tiny_compact_head() if kind == "compact" else tiny_head()
    inputs = compact_inputs(phrases=2) if kind == "compact" else tiny_inputs(head)
    names = list(head.state_dict())

    def gradients() -> list[Tensor]:
        head.requires_grad_(True).zero_grad()
        with torch.enable_grad():
            head(*inputs).square().mean().backward()
        return [each.grad.clone() for each in head.parameters() if each.grad is not None]

    kept = gradients()
    head.recompute()
    twice = gradients()
    assert list(head.state_dict()) == names
    assert len(kept) == len(twice)
    for one, other in zip(kept, twice, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ["ldznet", "compact"])
def test_computing_twice_keeps_less(kind: str) -> None:
    head: AnyHead = tiny_compact_head() if kind == "compact" else tiny_head()
    inputs = compact_inputs(phrases=2) if kind == "compact" else tiny_inputs(head)
    head.requires_grad_(True)

    def kept_bytes() -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with (
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            head(*inputs)
        weights = {each.data_ptr() for each in head.parameters()}
        return sum(size for pointer, size in sizes.items() if pointer not in weights)

    before = kept_bytes()
    head.recompute()
    assert kept_bytes() < 0.6 * before


class Slope(nn.Module):
    """A line whose loss is a mean over samples."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (self.weight * batch["x"] - 1).square().mean()}


class Sloping:
    """A stage of samples 0, 1, 2, ..."""

    name = "slope"

    def __init__(self) -> None:
        self.objective: nn.Module = Slope()

    def batch(self, plan: Plan, step: int, process: int) -> dict[str, Tensor]:
        return {"x": torch.arange(step * plan.batch, (step + 1) * plan.batch).float()}

    def sheet(self) -> Image.Image:
        return Image.new("RGB", (8, 8))

    def publish(self, folder: Path, provenance: str) -> None:
        self.said = provenance


def test_gradients_of_several_passes_make_the_step_of_a_larger_one(tmp_path: Path) -> None:
    one, other = Sloping(), Sloping()
    plan = Plan(steps=10, batch=4, learning_rate=0.1, average=0.0)
    train(one, plan, tmp_path / "one", resume=False)
    train(other, replace(plan, batch=1, accumulate=4), tmp_path / "other", resume=False)
    torch.testing.assert_close(one.objective.weight, other.objective.weight, atol=1e-6, rtol=1e-6)
    assert one.said == other.said
    assert "40 samples" in one.said
