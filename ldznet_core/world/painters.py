"""How each background is painted: a picture, and the exact mask of its stuff.

Each takes the chance and the side in pixels, and gives ``(S, S, 3)`` in [0, 255] and the index of
its stuff, from the top down, ``(S, S)``.
"""

from __future__ import annotations

import numpy as np

from .draw import Draw
from .textures import Colour, Labels, Picture, fade, finish, heights, noise, select, to_edge, wave


def beach(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Sky, sea and sand."""
    rows = heights(side)
    horizon = draw.uniform(0.32, 0.46)
    shore = horizon + draw.uniform(0.12, 0.2) + wave(draw, side, 0.025)
    sky = fade((92, 176, 236), (196, 228, 248), rows / horizon)
    sea = fade((20, 120, 178), (48, 168, 196), (rows - horizon) / 0.2)
    sand = fade((240, 218, 158), (224, 190, 122), (rows - 0.55) / 0.45)
    labels = (rows > horizon).astype(np.uint8) + (rows > np.maximum(shore, horizon))
    picture = select(labels, (sky, sea, sand))
    return finish(draw, picture, 9.0), labels.astype(np.uint8)


def meadow(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Sky and grass."""
    sky, grass = ((110, 186, 240), (206, 234, 250)), ((132, 196, 78), (74, 148, 54))
    return _open_land(draw, side, (0.36, 0.56), 0.05, sky, grass, 11.0)


def snowy_field(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Sky and snow."""
    sky, snow = ((124, 158, 186), (186, 208, 222)), ((250, 252, 255), (218, 230, 244))
    return _open_land(draw, side, (0.36, 0.56), 0.04, sky, snow, 7.0)


def night_sky(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Stars."""
    rows = heights(side)
    picture = finish(draw, fade((12, 14, 46), (62, 44, 104), rows), 10.0)
    height, width = np.mgrid[0:side, 0:side].astype(np.float32) / np.float32(side)
    for _ in range(9):
        top, left, reach = draw.unit(), draw.unit(), draw.uniform(0.008, 0.015)
        squared = ((height - top) ** 2 + (width - left) ** 2) / reach**2
        picture += 190 * np.maximum(0, 1 - squared * 0.4)[..., None]
    return picture, np.zeros((side, side), np.uint8)


def brick_wall(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Bricks in mortar."""
    courses = draw.choice((5, 6, 7))
    shift = draw.unit()
    height = heights(side) * courses + shift
    course = np.floor(height).astype(np.int64)
    width = (np.arange(side, dtype=np.float32) + 0.5) / side * courses / 2 + draw.unit()
    width = width + 0.5 * (course % 2)
    brick = np.floor(width).astype(np.int64)
    tone = draw.grid(10, 8)[course % 10, brick % 8] * 11
    to_mortar = np.minimum(to_edge(height), 2 * to_edge(width))
    mortar = np.clip(1.6 - to_mortar * 128 / courses / 1.1, 0, 1)[..., None]
    base = draw.choice(((176, 84, 64), (164, 96, 70), (186, 98, 82)))
    bricks = np.asarray(base, np.float32) + tone[..., None]
    picture = bricks * (1 - mortar) + np.asarray((202, 172, 154), np.float32) * mortar
    return finish(draw, picture, 8.0), np.zeros((side, side), np.uint8)


def wooden_table(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Planks with a grain."""
    planks = draw.choice((4, 5))
    height = heights(side) * planks + draw.unit()
    plank = np.floor(height).astype(np.int64)
    tone = draw.grid(8, 1)[plank % 8, 0] * 12
    grain = noise(draw, side, 12, 2) * 9
    seam = np.clip(1.5 - to_edge(height) * 128 / planks / 1.1, 0, 1)
    base = draw.choice(((190, 136, 80), (176, 122, 70), (202, 152, 96)))
    picture = np.asarray(base, np.float32) + (tone + grain - 52 * seam)[..., None]
    return finish(draw, picture, 6.0), np.zeros((side, side), np.uint8)


def desert(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Sky and dunes."""
    sky, dunes = ((84, 158, 226), (248, 226, 186)), ((236, 176, 104), (206, 132, 70))
    return _open_land(draw, side, (0.34, 0.5), 0.07, sky, dunes, 9.0)


def mountains(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Sky, rock and a valley of grass."""
    rows = heights(side)
    foot = draw.uniform(0.5, 0.62)
    ridge = foot - 0.22 + wave(draw, side, 0.13)
    valley = foot + wave(draw, side, 0.03)
    sky = fade((150, 202, 240), (224, 238, 248), rows / foot)
    rock = fade((176, 178, 196), (104, 108, 130), (rows - foot) / 0.3 + 1)
    grass = fade((120, 182, 86), (66, 130, 56), (rows - foot) / 0.4)
    labels = (rows > np.minimum(ridge, valley)).astype(np.uint8) + (rows > valley)
    return finish(draw, select(labels, (sky, rock, grass)), 9.0), labels.astype(np.uint8)


def road(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Sky, grass and a road with a dashed line."""
    rows = heights(side)
    horizon, kerb = draw.uniform(0.28, 0.38), draw.uniform(0.5, 0.58)
    sky = fade((112, 184, 238), (214, 236, 250), rows / horizon)
    grass = fade((136, 196, 84), (92, 160, 62), (rows - horizon) / 0.25)
    stripe = draw.uniform(0.74, 0.8)
    along = (np.arange(side, dtype=np.float32) + 0.5) / side * 4 + draw.unit()
    is_dash = (np.abs(rows - stripe) < 0.018) & ((along % 1) < 0.55)
    asphalt = np.where(is_dash[..., None], np.float32(226), np.float32(94)) * np.ones(3, np.float32)
    labels = (rows > horizon + wave(draw, side, 0.02)).astype(np.uint8)
    labels = np.where(rows > kerb, 2, labels).astype(np.uint8)
    return finish(draw, select(labels, (sky, grass, asphalt)), 8.0), labels


def fence(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Sky, boards and grass."""
    rows = heights(side)
    top, foot = draw.uniform(0.2, 0.3), draw.uniform(0.66, 0.76)
    across = (np.arange(side, dtype=np.float32) + 0.5) / side * draw.choice((7, 8, 9)) + draw.unit()
    point = np.float32(0.05) * np.abs(across % 1 - np.float32(0.5))
    tone = draw.grid(1, 10)[0, np.floor(across).astype(np.int64) % 10] * 9
    gap = np.clip(1.4 - to_edge(across) * 16, 0, 1)
    sky = fade((126, 192, 240), (220, 238, 250), rows / top)
    base = np.asarray(draw.choice(((236, 232, 222), (206, 170, 126), (150, 176, 160))), np.float32)
    boards = base + (tone - 62 * gap)[None, :, None] + np.zeros((side, 1, 1), np.float32)
    grass = fade((120, 188, 76), (80, 150, 56), (rows - foot) / 0.3)
    labels = (rows > top + point[None, :]).astype(np.uint8) + (rows > foot + wave(draw, side, 0.01))
    return finish(draw, select(labels, (sky, boards, grass)), 7.0), labels.astype(np.uint8)


def room(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """A wall over a floor of planks."""
    rows = heights(side)
    skirting = draw.uniform(0.56, 0.68)
    walls = ((232, 206, 178), (198, 214, 222), (222, 196, 204), (208, 214, 184))
    base = np.asarray(draw.choice(walls), np.float32)
    wall = base * (1.04 - 0.12 * rows[..., None])
    planks = np.clip((rows - skirting) / 0.4, 0, 1) ** np.float32(0.7) * 4
    seam = np.clip(1.4 - to_edge(planks) * 22, 0, 1)
    floor = np.asarray((168, 112, 66), np.float32) - 44 * seam[..., None]
    labels = (rows > skirting).astype(np.uint8)
    return finish(draw, select(labels, (wall, floor)), 6.0), labels


def under_water(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Water over a seabed."""
    rows = heights(side)
    bottom = draw.uniform(0.7, 0.82)
    line = bottom + wave(draw, side, 0.05)
    water = fade((64, 188, 214), (14, 84, 150), rows / bottom)
    light = np.clip(noise(draw, side, 3, 9), 0, 1)[..., None] * (1 - rows[..., None]) * 46
    seabed = fade((198, 186, 140), (150, 138, 104), (rows - bottom) / 0.25)
    labels = (rows > line).astype(np.uint8)
    return finish(draw, select(labels, (water + light, seabed)), 7.0), labels


def tiled_floor(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """Tiles of two colours."""
    tiles = draw.choice((4, 5, 6))
    along = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side) * tiles
    down, across = along[:, None] + draw.unit(), along[None, :] + draw.unit()
    is_dark = (np.floor(down) + np.floor(across)).astype(np.int64) % 2 == 1
    light, dark = draw.choice((((232, 232, 226), (92, 104, 116)), ((238, 228, 206), (172, 96, 76))))
    picture = np.where(
        is_dark[..., None], np.asarray(dark, np.float32), np.asarray(light, np.float32)
    )
    return finish(draw, picture, 6.0), np.zeros((side, side), np.uint8)


def stage(draw: Draw, side: int) -> tuple[Picture, Labels]:
    """A curtain over boards."""
    rows = heights(side)
    edge = draw.uniform(0.7, 0.8)
    folds = (np.arange(side, dtype=np.float32) + 0.5) / side * draw.choice((5, 6, 7)) + draw.unit()
    shade = np.float32(34) * np.abs(folds % 1 * 2 - 1) - 17
    base = np.asarray(draw.choice(((150, 30, 44), (44, 60, 132), (92, 40, 112))), np.float32)
    curtain = base + shade[None, :, None] + np.zeros((side, 1, 1), np.float32)
    boards = fade((186, 138, 88), (130, 88, 52), (rows - edge) / 0.25)
    labels = (rows > edge).astype(np.uint8)
    return finish(draw, select(labels, (curtain, boards)), 6.0), labels


def _open_land(
    draw: Draw,
    side: int,
    horizons: tuple[float, float],
    hills: float,
    sky: tuple[Colour, Colour],
    ground: tuple[Colour, Colour],
    strength: float,
) -> tuple[Picture, Labels]:
    """Sky over ground, whose edge is so hilly; each fades from its first colour to its second."""
    rows = heights(side)
    horizon = draw.uniform(*horizons)
    edge = horizon + wave(draw, side, hills)
    labels = (rows > edge).astype(np.uint8)
    layers = (fade(*sky, rows / horizon), fade(*ground, (rows - horizon) / 0.5))
    return finish(draw, select(labels, layers), strength), labels
