"""A small transformer, the same in diffusers, and adapters with nothing in them that is zero."""

from collections.abc import Callable

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from toys import toy

from piying.adapters import attach
from piying.adapters.adapter import Adapter
from piying.config import COGVIDEOX_2B, TransformerConfig
from piying.models.transformer import Transformer
from piying.weights.part_json import transformer_json

CONFIG = toy(COGVIDEOX_2B).transformer
EVERYWHERE = (
    *attach.ATTENTION,
    "ff.net.0.proj",
    "ff.net.2",
    "norm1.linear",
    "norm2.linear",
    "text_proj",
    "linear_1",
    "linear_2",
    "norm_out.linear",
    "proj_out",
)


def build(config: TransformerConfig = CONFIG) -> Transformer:
    torch.manual_seed(0)
    transformer = Transformer(config).requires_grad_(False).eval()
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return transformer


@pytest.fixture
def ours() -> Transformer:
    return build()


@pytest.fixture
def theirs(ours: Transformer) -> CogVideoXTransformer3DModel:
    """The same in diffusers, fresh: adapters leave traces in it."""
    model = CogVideoXTransformer3DModel.from_config(transformer_json(CONFIG)).eval().requires_grad_(False)
    model.load_state_dict(ours.state_dict())
    return model


@pytest.fixture
def trained(ours: Transformer) -> Callable[..., Adapter]:
    """An adapter with random values; see `attach.create` for what it takes."""

    def trained(*, seed: int = 0, targets: tuple[str, ...] = EVERYWHERE, **values: object) -> Adapter:
        adapter = attach.create(ours, targets=targets, seed=seed, **{"rank": 4, "alpha": 2.0, **values})
        fitted, dice = attach.fit(ours, adapter), torch.Generator().manual_seed(seed + 100)
        for parameter in fitted.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=dice)
        return fitted.adapter()

    return trained


@pytest.fixture
def run() -> Callable[..., torch.Tensor]:
    """What either transformer makes of the same input, whatever is attached."""
    dice = torch.Generator().manual_seed(1)
    x, text = torch.randn(2, 3, 16, 4, 6, generator=dice), torch.randn(2, 8, 24, generator=dice)
    timestep = torch.tensor([500, 20])

    @torch.no_grad()
    def run(model: torch.nn.Module) -> torch.Tensor:
        made = model(x, text, timestep)
        return made if isinstance(made, torch.Tensor) else made.sample

    return run
