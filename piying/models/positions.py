"""Where a token stands: sines added to the tokens for the 2B, turns of q and k for the others.

A grid is (time, height, width) counted in patches; tokens run along the width first, then the height, then time.
Tables are built once for a shape and kept.
"""

from functools import lru_cache

import torch
from torch import Tensor

from piying.config import TransformerConfig

Grid = tuple[int, int, int]
TIME, HEIGHT, WIDTH = 0, 1, 2


@lru_cache(maxsize=4)
def sincos(
    width: int, grid: Grid, scale: tuple[float, float], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Sines and cosines to add to the tokens [T*H*W, width] (arXiv:1706.03762, section 3.5), in three dimensions.

    A quarter of the channels tells time, then three eighths each the column and the row. Positions are divided by
    `scale` (time, space).
    """
    with torch.inference_mode(False):  # a table made while generating must still serve training
        by_time, by_row, by_column = (
            _angles(torch.arange(count, device=device, dtype=torch.float32) / divisor, channels, torch.float64)
            for count, divisor, channels in zip(
                grid, (scale[0], scale[1], scale[1]), (width // 4, 3 * width // 8, 3 * width // 8), strict=True
            )
        )
        parts = [(TIME, by_time), (WIDTH, by_column), (HEIGHT, by_row)]
        return _over(grid, [(axis, torch.cat([a.sin(), a.cos()], dim=1)) for axis, a in parts]).float().to(dtype)


@lru_cache(maxsize=4)
def turns(config: TransformerConfig, grid: Grid, text_tokens: int, device: torch.device) -> Tensor:
    """Turns of q and k as cosines and sines [L + T*H*W, head_width/2, 2] (arXiv:2104.09864). Text is not turned.

    A quarter of the channels tells time and three eighths each the row and the column. The 1.0 models stretch the grid
    that they were trained on over the actual one; the 1.5 models count patches from the corner.
    """
    with torch.inference_mode(False):
        places = [torch.arange(count, device=device, dtype=torch.float32) for count in grid]
        if config.patch[0] == 1:
            for axis, (start, stop) in zip((HEIGHT, WIDTH), _window(grid[1:], config), strict=True):
                count = grid[axis]
                places[axis] = torch.linspace(start, stop * (count - 1) / count, count, device=device)
        channels = (config.head_width // 4, config.head_width // 8 * 3, config.head_width // 8 * 3)
        angles = [_angles(place, width, torch.float32) for place, width in zip(places, channels, strict=True)]
        video = _over(grid, list(enumerate(angles)))
        angle = torch.cat([video.new_zeros(text_tokens, config.head_width // 2), video])
        return torch.stack((angle.cos(), angle.sin()), -1)


def _angles(place: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """The angle of each place at each of the geometric frequencies from 1 down to 1/10000 [places, channels/2]."""
    exponent = torch.arange(0, channels, 2, device=place.device, dtype=dtype) / channels
    return torch.outer(place.to(dtype), 1.0 / 10000**exponent)


def _over(grid: Grid, parts: list[tuple[int, Tensor]]) -> Tensor:
    """Tables of single axes, (axis, [places, channels]), spread over the grid and put side by side [T*H*W, sum]."""
    spread = []
    for axis, table in parts:
        shape = [1, 1, 1, table.shape[1]]
        shape[axis] = table.shape[0]
        spread.append(table.view(shape).expand(*grid, -1))
    return torch.cat(spread, dim=-1).flatten(0, 2)


def _window(size: tuple[int, int], config: TransformerConfig) -> list[tuple[int, int]]:
    """The rows and the columns (start, stop) that a grid of this size takes in the trained grid.

    The longer side fills the trained grid, the other one lies centred in it.
    """
    trained = config.trained_grid[1:]
    (height, width), (full_height, full_width) = size, trained
    if height / width > full_height / full_width:
        taken = (full_height, round(full_height / height * width))
    else:
        taken = (round(full_width / width * height), full_width)
    return [(start := round((full - part) / 2), start + part) for full, part in zip(trained, taken, strict=True)]
