"""The network of the detectors: an eye that names what single pictures show, and a course that follows it over a clip.

B clips, T frames looked at (1: a single picture), N = B T pictures, C channels, H W pixels, h w cells of 8x8 pixels,
S subjects, D width of a token. The eye gives each cell to a subject or to nobody, which the theatre's own masks teach
it; a subject's token is the mean of its cells, so that a clip of two actors gives each its own colour, size and path.
The course compares each picture with one a little later, where everything may have moved, and reads what it finds over
time: motions and the camera. It sees through the eye and never changes it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying.evaluate.sight import ACTOR, CAST, SCENE

PLACE = 6  # of a token: where the subject is, how far it spreads and leans, how much it covers
LATER = 2  # looks between two pictures that are compared: a pan goes 6 pixels in them
REACH = 3  # cells of 4x4 pixels that anything may have moved in between
GRID = (3, 3)  # parts of the picture whose movement tells the camera's: a zoom parts them
STILL = tuple(name for name in SCENE if name != "camera")  # what a single picture shows


class Views(NamedTuple):
    """Logits."""

    cells: Tensor  # [B T 1+S h w]: nobody, each subject
    presence: Tensor  # [B S T], each frame on its own
    colour: Tensor  # [B S T 9], each frame on its own
    size: Tensor  # [B S 2]
    motion: Tensor  # [B S 9]
    scene: dict[str, Tensor]  # attribute -> [B values]


class Network(nn.Module):
    """2.5 million parameters at the default width, which is that of the finest features."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.eye = Eye(width)
        self.course = Course(width)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Views:
        """pictures [B T 3 H W] in -1..1, H and W divisible by 8."""
        b, t = pictures.shape[:2]
        glance = self.eye(pictures.flatten(0, 1))
        camera, motion = self.course(glance, t)

        def over_time(logits: Tensor) -> Tensor:
            """[N S ...] -> [B S T ...]."""
            return logits.unflatten(0, (b, t)).transpose(1, 2)

        scene = {name: logits.unflatten(0, (b, t)).mean(1) for name, logits in glance.scene.items()}
        return Views(
            glance.cells.unflatten(0, (b, t)),
            over_time(glance.presence),
            over_time(glance.colour),
            over_time(glance.size).mean(2),
            motion,
            {**scene, "camera": camera},
        )


class Glance(NamedTuple):
    """What the eye makes of pictures."""

    fine: Tensor  # [N 2C 2h 2w] features
    cells: Tensor  # [N 1+S h w] logits
    tokens: Tensor  # [N S D]: of each subject, its cells
    presence: Tensor  # [N S] logits
    colour: Tensor  # [N S 9]
    size: Tensor  # [N S 2]
    scene: dict[str, Tensor]  # [N values]; no camera


class Eye(nn.Module):
    """Names what a single picture shows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        deep = 4 * width
        self.fine = nn.Sequential(
            Convolution(5, width, 5, 2), nn.ReLU(), Convolution(width, 2 * width, 3, 2), nn.ReLU(),
            Block(2 * width, 2 * width),
        )  # fmt: skip
        self.deep = nn.Sequential(
            Block(2 * width, deep, stride=2), Block(deep, deep), Block(deep, deep), Block(deep, deep)
        )
        self.cells = nn.Conv2d(deep, 1 + len(CAST), 1)
        self.tell = nn.Linear(3 * deep + PLACE, deep)
        self.presence = nn.Linear(deep, len(CAST))
        self.known = nn.Linear(2 * deep, len(CAST))
        self.colour = nn.Linear(deep, len(ACTOR["colour"]))
        self.size = nn.Linear(deep, len(ACTOR["size"]))
        self.scene = nn.ModuleDict({name: nn.Linear(2 * deep, len(SCENE[name])) for name in STILL})

    def forward(self, pictures: Tensor) -> Glance:
        """pictures [N 3 H W]."""
        height, width = pictures.shape[-2:]
        place = places(height, width, pictures).expand(len(pictures), -1, -1, -1)
        fine = self.fine(torch.cat([pictures, place], dim=1).contiguous(memory_format=torch.channels_last))
        features = self.deep(fine)  # [N C h w]
        cells = self.cells(features)
        tokens = gather(cells.float().softmax(1)[:, 1:], features)  # [N S D]
        whole = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)  # [N 2C]
        told = F.relu(self.tell(torch.cat([tokens, whole[:, None].expand(-1, tokens.shape[1], -1)], dim=-1)))
        scene = {name: head(whole) for name, head in self.scene.items()}
        presence = self.presence(told).diagonal(dim1=1, dim2=2) + self.known(whole)
        return Glance(fine, cells, tokens, presence, self.colour(told), self.size(told), scene)


class Course(nn.Module):
    """Follows subjects and the backdrop over a clip."""

    def __init__(self, width: int, marks: int = 24, hidden: int = 64, path: int = 128) -> None:
        super().__init__()
        self.marks = nn.Conv2d(2 * width, marks, 1, bias=False)
        self.moves = nn.Sequential(
            nn.Conv2d((2 * REACH + 1) ** 2 + marks, hidden, 3, 2, 1), nn.GroupNorm(4, hidden), nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, 1, 1), nn.GroupNorm(4, hidden), nn.ReLU(),
        )  # fmt: skip
        self.backdrop = Path(hidden * GRID[0] * GRID[1], path)
        self.camera = nn.Sequential(nn.LayerNorm(path), nn.Linear(path, len(SCENE["camera"])))
        self.actor = Path(4 * width + PLACE + hidden + path, path)
        self.motion = nn.Sequential(nn.LayerNorm(path), nn.Linear(path, len(ACTOR["motion"])))

    def forward(self, glance: Glance, t: int) -> tuple[Tensor, Tensor]:
        """The camera [B 6] and the subjects' motions [B S 9] of clips of T pictures."""
        with torch.autocast(glance.fine.device.type, enabled=False):  # a look's movement is finer than half precision
            shares = glance.cells.float().softmax(1)  # [N 1+S h w]
            moves = self.compare(glance.fine.float(), t)
            free = shares[:, :1]
            parts = F.adaptive_avg_pool2d(moves * free, GRID) / (F.adaptive_avg_pool2d(free, GRID) + 0.05)
            backdrop = self.backdrop(parts.flatten(1).unflatten(0, (-1, t)))  # [B T D]
            found = torch.cat([glance.tokens, gather(shares[:, 1:], moves)[..., :-PLACE]], dim=-1)  # [N S D]
            tokens = found.unflatten(0, (-1, t)).transpose(1, 2)  # [B S T D]
            tokens = torch.cat([tokens, backdrop[:, None].expand(-1, tokens.shape[1], -1, -1)], dim=-1)
            paths = self.actor(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
            return self.camera(backdrop.mean(1)), self.motion(paths.mean(2))

    def compare(self, fine: Tensor, t: int) -> Tensor:
        """What moves where, between each picture and one a little later. [N C 2h 2w] -> [N C h w]."""
        marks = self.marks(fine)
        series = F.normalize(marks - marks.mean((2, 3), keepdim=True), dim=1).unflatten(0, (-1, t))
        later = series[:, (torch.arange(t) + LATER).clamp(max=t - 1)]
        return self.moves(torch.cat([likeness(series.flatten(0, 1), later.flatten(0, 1)), marks], dim=1))


def likeness(now: Tensor, later: Tensor) -> Tensor:
    """How like each cell is to each of its neighbours a little later. [N C h w] twice -> [N (2 REACH + 1)^2 h w]."""
    height, width = now.shape[-2:]
    padded = F.pad(later, (REACH,) * 4)
    shifts = [(y, x) for y in range(2 * REACH + 1) for x in range(2 * REACH + 1)]
    return torch.stack([(now * padded[..., y : y + height, x : x + width]).sum(1) for y, x in shifts], dim=1)


def gather(shares: Tensor, features: Tensor) -> Tensor:
    """What the cells of each subject have in common, from its shares of them [N S h w] and features [N C h w].

    -> [N S C+6]: the mean feature, the mean place (2), its deviations (2) and their covariance, the logarithm of the
    cells covered.
    """
    place = places(features.shape[-2], features.shape[-1], shares).flatten(1)  # [2 hw]
    shares = shares.flatten(2)
    covered = shares.sum(-1, keepdim=True)
    weights = shares / (covered + 0.1)
    mean = torch.einsum("nsk,nck->nsc", weights.to(features), features.flatten(2))
    # Products and sums, not matrices, which mixed precision would round.
    where = (weights[:, :, None] * place).sum(-1)
    apart = place - where[..., None]  # [N S 2 hw]
    far = (weights[:, :, None] * apart**2).sum(-1)
    lean = (weights * apart[:, :, 0] * apart[:, :, 1]).sum(-1, keepdim=True)
    return torch.cat([mean.float(), where, (far + 1e-6).sqrt(), 10 * lean, (covered + 0.1).log()], dim=-1)


def places(height: int, width: int, like: Tensor) -> Tensor:
    """The x and y of each cell, -1..1 and -2/3..2/3, as channels [2 H W]."""
    y = torch.linspace(-2 / 3, 2 / 3, height, dtype=like.dtype, device=like.device)
    x = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device)
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])


class Convolution(nn.Sequential):
    """A convolution whose channels are normalised over the batch."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out)
        )  # fmt: skip


class Block(nn.Module):
    """A residual block. [N C H W] -> [N C' H' W']."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.first = Convolution(channels, out, 3, stride)
        self.second = Convolution(out, out, 3)
        self.skip = Convolution(channels, out, 1, stride) if channels != out or stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.second(F.relu(self.first(x))))


class Path(nn.Module):
    """Reads a series of tokens over time. [B T D] -> [B T C]."""

    def __init__(self, token: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(token), nn.Linear(token, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(4)])
        self.layers = nn.ModuleList([nn.Conv1d(width, width, 3, padding=1) for _ in range(4)])

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.enter(tokens)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(F.silu(norm(x)).transpose(1, 2)).transpose(1, 2)
        return x
