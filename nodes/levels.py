"""Where on Stable Diffusion's schedule a pass is, whatever a MODEL itself calls its noise levels.

Most count a thousand timesteps, which is how heads count. Those of EDM, such as Playground v2.5 and
CosXL, name a level by a logarithm or an angle; for them the timestep is the one at which Stable
Diffusion has as much noise. Their UNet is still told of it in its own way: ComfyUI sees to that.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import ModelSamplingDiscrete, ModelSamplingDiscreteFlow
from torch import Tensor

from ..ldznet_core import UnsupportedModelError

_HIGHEST_OF_OTHERS = 10.0
"""Above what any of the others calls its most noise: 1.2 for EDM (comfy/model_sampling.py)."""


def check_levels(model: ModelPatcher) -> None:
    """Make sure that a MODEL's noise levels can be told in timesteps.

    Raises:
        UnsupportedModelError: It was set to a flow that counts otherwise, as Flux and AuraFlow do.
    """
    sampling = model.get_model_object("model_sampling")
    if not _counts_a_thousand(sampling) and not hasattr(sampling, "sigma_data"):
        raise UnsupportedModelError(
            "expected a MODEL that samples as SD 1.x, SD 2.x and SDXL do, got one that is set to "
            "sample as Flux or AuraFlow: connect the MODEL from before the node that sets it"
        )


def timestep_of(sampling: Any, sigma: Tensor) -> float:
    """The timestep, 0 to 999, of one sigma of a MODEL's ``model_sampling``."""
    if _counts_a_thousand(sampling):
        return float(sampling.timestep(sigma))
    return float(_schedule().timestep(sigma / _of_data(sampling)))


def sigma_of(sampling: Any, timestep: float) -> Tensor:
    """The inverse, ``(1,)``."""
    timesteps = torch.tensor([timestep])
    sigma: Tensor
    if isinstance(sampling, ModelSamplingDiscreteFlow):
        sigma = timesteps / sampling.multiplier  # its own `sigma` shifts, which `timestep` does not
    elif _counts_a_thousand(sampling):
        sigma = sampling.sigma(timesteps)
    else:
        sigma = _schedule().sigma(timesteps) * _of_data(sampling)
    return sigma


def _counts_a_thousand(sampling: Any) -> bool:
    most = torch.as_tensor(sampling.sigma_max).reshape(1)
    return float(sampling.timestep(most)) > _HIGHEST_OF_OTHERS


def _of_data(sampling: Any) -> float:
    """The deviation of clean latents; as much noise beside ones twice as large is half as much."""
    return float(getattr(sampling, "sigma_data", 1.0))


@cache
def _schedule() -> Any:
    """Stable Diffusion's own thousand levels, which are the host's default."""
    return ModelSamplingDiscrete()
