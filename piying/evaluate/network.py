"""The network of the detectors: it marks where each of the subjects is, follows it, and names what it sees.

B clips, T frames looked at, C channels, H W pixels, h w cells of 8x8 pixels, S subjects, D width of a token. Each cell
is given to a subject or to nobody, which the theatre's own masks teach it; a subject's token is the mean of its cells,
so that a clip of two actors gives each its own colour, size and path.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying.evaluate.sight import ACTOR, SCENE, SUBJECTS

PLACE = 5  # of a token: where the subject is, how far it spreads, how much it covers


class Views(NamedTuple):
    """Logits."""

    cells: Tensor  # [B T 1+S h w]: nobody, each subject
    presence: Tensor  # [B S T], each frame on its own
    colour: Tensor  # [B S T 9], each frame on its own
    size: Tensor  # [B S 2]
    motion: Tensor  # [B S 9]
    scene: dict[str, Tensor]  # attribute -> [B values]


class Network(nn.Module):
    """About a million parameters at the default width; `width` is that of the feature map."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.width = width
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
        self.cells = nn.Conv2d(width, 1 + len(SUBJECTS), 1)
        token = 3 * width + PLACE
        self.presence = nn.Linear(token, 1)
        self.colour = nn.Linear(token, len(ACTOR["colour"]))
        self.path = Path(token, width)
        self.size = nn.Linear(width, len(ACTOR["size"]))
        self.motion = nn.Linear(width, len(ACTOR["motion"]))
        self.whole = Path(2 * width, width)
        self.scene = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in SCENE.items()})

    def forward(self, pictures: Tensor) -> Views:
        """pictures [B T 3 H W] in -1..1, H and W divisible by 8."""
        b, t, _, height, width = pictures.shape
        x = torch.cat([pictures, places(height, width, pictures).expand(b, t, -1, -1, -1)], dim=2)
        x = self.stem(x.flatten(0, 1)).unflatten(0, (b, t))
        features = F.silu(self.norm(self.trunk(x).flatten(0, 1)))  # [BT C h w]
        cells = self.cells(features)
        found = gather(cells.float().softmax(1)[:, 1:], features)
        whole = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)  # [BT 2C]
        tokens = torch.cat([found, whole[:, None].expand(-1, found.shape[1], -1)], dim=-1)
        tokens = tokens.unflatten(0, (b, t)).transpose(1, 2)  # [B S T D]
        path = self.path(tokens)
        scene = self.whole(whole.unflatten(0, (b, t))[:, None])[:, 0]
        return Views(
            cells.unflatten(0, (b, t)),
            self.presence(tokens)[..., 0],
            self.colour(tokens),
            self.size(path),
            self.motion(path),
            {name: head(scene) for name, head in self.scene.items()},
        )


def gather(shares: Tensor, features: Tensor) -> Tensor:
    """What the cells of each subject have in common, from its shares of them [N S h w] and features [N C h w].

    -> [N S C+5]: the mean feature, the mean place (2), its deviation (2), the logarithm of the cells covered.
    """
    place = places(features.shape[-2], features.shape[-1], shares).flatten(1)  # [2 hw]
    shares = shares.flatten(2)
    covered = shares.sum(-1, keepdim=True)
    weights = shares / (covered + 0.1)
    mean = torch.einsum("nsk,nck->nsc", weights.to(features), features.flatten(2))
    # Products and sums, not matrices, which mixed precision would round.
    where = (weights[:, :, None] * place).sum(-1)
    far = (weights[:, :, None] * (place - where[..., None]) ** 2).sum(-1)
    return torch.cat([mean.float(), where, (far + 1e-6).sqrt(), (covered + 0.1).log()], dim=-1)


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
