"""Tensors read from safetensors files a few at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ldznet_core import CheckpointError, stored
from ldznet_core.stored import check_fit, list_tensors, read_tensors


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (3, 5), "b": (7,), "c": (), "d": (2, 0), "e": (2, 3, 1, 1)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def file(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    save_file({name: each.half() for name, each in tensors.items()}, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def test_the_header_tells_names_shapes_and_dtypes(file: Path, tensors: dict[str, Tensor]) -> None:
    listed = list_tensors(file)
    assert {name: each.shape for name, each in listed.items()} == {
        name: tuple(each.shape) for name, each in tensors.items()
    }
    assert {each.dtype for each in listed.values()} == {"F16"}


@pytest.mark.parametrize("portion", [1, 20, 10**9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_value_is_read_whatever_the_portion(
    portion: int,
    dtype: torch.dtype,
    file: Path,
    tensors: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stored, "PORTION_VALUES", portion)
    read = read_tensors(list_tensors(file), dtype=dtype)
    assert list(read) == list(list_tensors(file))
    for name, each in read.items():
        assert torch.equal(each, tensors[name].half().to(dtype))
        assert each.is_contiguous()


def test_a_tensor_may_be_read_under_another_name_and_shape(
    file: Path, tensors: dict[str, Tensor]
) -> None:
    flat = replace(list_tensors(file)["e"], shape=(2, 3))
    read = read_tensors({"linear": flat})["linear"]
    assert torch.equal(read, tensors["e"][:, :, 0, 0].half().float())


def test_the_file_may_go_when_its_tensors_are_in_use(
    file: Path, tensors: dict[str, Tensor]
) -> None:
    read = read_tensors(list_tensors(file), dtype=torch.float16)
    file.write_bytes(b"\0" * file.stat().st_size)
    assert torch.equal(read["a"], tensors["a"].half())


def test_a_file_that_goes_before_is_a_sentence(file: Path) -> None:
    listed = list_tensors(file)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"expected safetensors in .*x\.safetensors"):
        read_tensors(listed)


def test_what_does_not_fit_is_listed(file: Path) -> None:
    shapes = {"a": (3, 5), "b": (8,), "c": (), "d": (2, 0), "z": (1,)}
    wanted = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with pytest.raises(CheckpointError) as caught:
        check_fit(wanted, list_tensors(file), "the network", remedy="mend it")
    assert "1 missing (z); 1 surplus (e); 1 misshapen (b)" in str(caught.value)
    assert str(caught.value).endswith(": mend it")
