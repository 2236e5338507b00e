"""The network of the detectors: it looks for each of the subjects, follows it, and names what it sees.

B clips, T frames looked at, C channels, H W pixels, S subjects, D width of a token. One query per subject attends to
every frame on its own, so that a clip of two actors gives each its own colour, size and path; the place that a query
attends to is part of its token, which makes its path readable.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying.evaluate.sight import ACTOR, SCENE, SUBJECTS


class Views(NamedTuple):
    """Logits."""

    presence: Tensor  # [B S T], each frame on its own
    colour: Tensor  # [B S T 9], each frame on its own
    size: Tensor  # [B S 2]
    motion: Tensor  # [B S 9]
    scene: dict[str, Tensor]  # attribute -> [B values]


class Network(nn.Module):
    """About a million parameters at the default width; `width` is that of the feature map and of the tokens."""

    def __init__(self, width: int = 96, heads: int = 4) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.stem = nn.Sequential(
            nn.Conv2d(5, width // 4, 5, stride=2, padding=2),
            nn.GroupNorm(4, width // 4),
            nn.SiLU(),
            nn.Conv2d(width // 4, width // 2, 3, stride=2, padding=1),
        )
        self.trunk = nn.Sequential(
            Block(width // 2, width // 2), Block(width // 2, width, stride=2), Block(width, width), Block(width, width)
        )
        self.norm = nn.GroupNorm(4, width)
        self.queries = nn.Parameter(torch.randn(len(SUBJECTS), width))
        self.key = nn.Conv2d(width + 2, width, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.presence = nn.Linear(width, 1)
        self.colour = nn.Linear(width, len(ACTOR["colour"]))
        token = 3 * width + 2 * heads
        self.path = Path(token, width)
        self.size = nn.Linear(width, len(ACTOR["size"]))
        self.motion = nn.Linear(width, len(ACTOR["motion"]))
        self.whole = Path(4 * width, width)
        self.scene = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in SCENE.items()})

    def forward(self, pictures: Tensor) -> Views:
        """pictures [B T 3 H W] in -1..1, H and W divisible by 8."""
        b, t, _, height, width = pictures.shape
        x = torch.cat([pictures, places(height, width, pictures).expand(b, t, -1, -1, -1)], dim=2)
        x = self.stem(x.flatten(0, 1)).unflatten(0, (b, t))
        features = F.silu(self.norm(self.trunk(x).flatten(0, 1)))  # [BT C H/8 W/8]
        place = places(features.shape[-2], features.shape[-1], features)
        keys = self.key(torch.cat([features, place.expand(b * t, -1, -1, -1)], dim=1))
        keys = keys.unflatten(1, (self.heads, -1)).flatten(3)  # [BT heads C/heads HW]
        values = self.value(features).unflatten(1, (self.heads, -1)).flatten(3)
        queries = self.queries.unflatten(1, (self.heads, -1)).transpose(0, 1)  # [heads S C/heads]
        weights = torch.softmax(queries @ keys / keys.shape[2] ** 0.5, dim=-1)  # [BT heads S HW]
        found = (weights @ values.transpose(2, 3)).transpose(1, 2).flatten(2)  # [BT S C]
        where = (weights @ place.flatten(1).T).transpose(1, 2).flatten(2)  # [BT S 2 heads]
        whole = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)  # [BT 2C]
        tokens = torch.cat([found, where, whole[:, None].expand(-1, found.shape[1], -1)], dim=-1)
        tokens = tokens.unflatten(0, (b, t)).transpose(1, 2)  # [B S T D]
        found = found.unflatten(0, (b, t)).transpose(1, 2)
        path = self.path(tokens)
        everyone = found.mean(dim=1)  # [B T C]
        scene = self.whole(torch.cat([whole.unflatten(0, (b, t)), everyone, found.amax(dim=1)], dim=-1)[:, None])[:, 0]
        return Views(
            self.presence(found)[..., 0],
            self.colour(found),
            self.size(path),
            self.motion(path),
            {name: head(scene) for name, head in self.scene.items()},
        )


def places(height: int, width: int, like: Tensor) -> Tensor:
    """The x and y of each cell, -1..1 and -2/3..2/3, as channels [2 H W]."""
    y = torch.linspace(-2 / 3, 2 / 3, height, dtype=like.dtype, device=like.device)
    x = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device)
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])


class Block(nn.Module):
    """A residual block: within the frame, then across frames. [B T C H W] -> [B T C' H' W']."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(4, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, stride, 1))
        self.second = nn.Sequential(nn.GroupNorm(4, out), nn.SiLU(), nn.Conv2d(out, out, 3, 1, 1))
        self.across = nn.Conv1d(out, out, 3, padding=1, groups=4)
        self.skip = nn.Conv2d(channels, out, 1, stride) if channels != out or stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        b, t = x.shape[:2]
        x = x.flatten(0, 1)
        x = self.skip(x) + self.second(self.first(x))
        size = x.shape[2:]
        x = x.unflatten(0, (b, t))
        series = F.silu(x).permute(0, 3, 4, 2, 1).flatten(0, 2)  # [BHW C T]
        return x + self.across(series).unflatten(0, (b, *size)).permute(0, 4, 3, 1, 2)


class Path(nn.Module):
    """Reads a series of tokens over time. [B S T D] -> [B S C]."""

    def __init__(self, token: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv1d(token, width, 1)
        self.layers = nn.ModuleList([nn.Conv1d(width, width, 3, padding=1) for _ in range(4)])

    def forward(self, tokens: Tensor) -> Tensor:
        b = tokens.shape[0]
        x = self.enter(tokens.flatten(0, 1).transpose(1, 2))
        for layer in self.layers:
            x = x + layer(F.silu(x))
        return F.silu(x).mean(dim=2).unflatten(0, (b, -1))
