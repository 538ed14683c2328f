"""Drawing in NumPy: shapes with smooth edges and a small bitmap font.

On uint8 RGB arrays [height, width, 3].

Positions and lengths are pixels, x to the right and y down from the top left corner; a colour is
three numbers from 0 to 255. The functions draw in place, and clip what lies outside the picture.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[float, float]
Floats = NDArray[np.float64]

GLYPH_WIDTH, GLYPH_HEIGHT, GLYPH_ADVANCE = 5, 7, 6
CHARACTERS = ("0123456789+-?", "ABCDEFGHIJKLM", "NOPQRSTUVWXYZ", " .,:/=>!%()_#")
FONT = (
    """
    .###. ..#.. .###. ##### ...#. ##### ..##. ##### .###. .###. ..... ..... .###.
    #...# .##.. #...# ...#. ..##. #.... .#... ....# #...# #...# ..#.. ..... #...#
    #..## ..#.. ....# ..#.. .#.#. ####. #.... ...#. #...# #...# ..#.. ..... ....#
    #.#.# ..#.. ..##. ...#. #..#. ....# ####. ..#.. .###. .#### ##### ##### ...#.
    ##..# ..#.. .#... ....# ##### ....# #...# .#... #...# ....# ..#.. ..... ..#..
    #...# ..#.. #.... #...# ...#. #...# #...# .#... #...# ...#. ..#.. ..... .....
    .###. .###. ##### .###. ...#. .###. .###. .#... .###. .##.. ..... ..... ..#..
    """,
    """
    .###. ####. .###. ####. ##### ##### .###. #...# .###. ..### #...# #.... #...#
    #...# #...# #...# #...# #.... #.... #...# #...# ..#.. ...#. #..#. #.... ##.##
    #...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #.#.. #.... #.#.#
    ##### ####. #.... #...# ####. ####. #.### ##### ..#.. ...#. ##... #.... #.#.#
    #...# #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #.#.. #.... #...#
    #...# #...# #...# #...# #.... #.... #...# #...# ..#.. #..#. #..#. #.... #...#
    #...# ####. .###. ####. ##### #.... .###. #...# .###. .##.. #...# ##### #...#
    """,
    """
    #...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...# #...# #####
    ##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....#
    ##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#.
    #.#.# #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#..
    #..## #...# #.... #.#.# #.#.. ....# ..#.. #...# .#.#. #.#.# .#.#. ..#.. .#...
    #..## #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #....
    #...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. #####
    """,
    """
    ..... ..... ..... ..... ....# ..... .#... ..#.. ##..# ...#. .#... ..... .#.#.
    ..... ..... ..... ..#.. ....# ..... ..#.. ..#.. ##..# ..#.. ..#.. ..... .#.#.
    ..... ..... ..... ..#.. ...#. ##### ...#. ..#.. ...#. ..#.. ..#.. ..... #####
    ..... ..... ..... ..... ..#.. ..... ....# ..#.. ..#.. ..#.. ..#.. ..... .#.#.
    ..... ..... ..... ..#.. .#... ##### ...#. ..#.. .#... ..#.. ..#.. ..... #####
    ..... .##.. ..#.. ..#.. #.... ..... ..#.. ..... #..## ..#.. ..#.. ..... .#.#.
    ..... .##.. .#... ..... #.... ..... .#... ..#.. #..## ...#. .#... ##### .#.#.
    """,
)


def blank(width: int, height: int, colour: Colour) -> Image:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def fill_rectangle(
    image: Image, corner: Point, size: Point, colour: Colour, *, radius: float = 0.0
) -> None:
    """A rectangle from its top left corner and (width, height), its corners rounded by `radius`."""
    half_width, half_height = size[0] / 2, size[1] / 2
    centre = (corner[0] + half_width, corner[1] + half_height)
    x, y, window = _around(image, centre, half_width, half_height)
    # Signed distance to a rounded box, negative inside (Quilez, "2D distance functions").
    beyond_x, beyond_y = np.abs(x) - half_width + radius, np.abs(y) - half_height + radius
    outside = np.hypot(np.maximum(beyond_x, 0), np.maximum(beyond_y, 0))
    _blend(window, outside + np.minimum(np.maximum(beyond_x, beyond_y), 0) - radius, colour)


def fill_disc(image: Image, centre: Point, radius: float, colour: Colour) -> None:
    """A filled circle."""
    x, y, window = _around(image, centre, radius, radius)
    _blend(window, np.hypot(x, y) - radius, colour)


def draw_ring(
    image: Image, centre: Point, radius: float, colour: Colour, *, thickness: float = 2.0
) -> None:
    """A circle's outline, `thickness` wide and centred on the radius."""
    reach = radius + thickness
    x, y, window = _around(image, centre, reach, reach)
    _blend(window, np.abs(np.hypot(x, y) - radius) - thickness / 2, colour)


def draw_line(
    image: Image, start: Point, end: Point, colour: Colour, *, thickness: float = 2.0
) -> None:
    """A straight line with round ends."""
    centre = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    direction_x, direction_y = (end[0] - start[0]) / 2, (end[1] - start[1]) / 2
    x, y, window = _around(
        image, centre, abs(direction_x) + thickness, abs(direction_y) + thickness
    )
    squared_length = max(direction_x**2 + direction_y**2, 1e-12)
    along = np.clip((x * direction_x + y * direction_y) / squared_length, -1, 1)
    _blend(
        window, np.hypot(x - along * direction_x, y - along * direction_y) - thickness / 2, colour
    )


def fill_polygon(image: Image, corners: list[Point], colour: Colour) -> None:
    """A convex polygon; its corners in either order of turning."""
    points = np.asarray(corners, np.float64)
    centre = points.mean(axis=0)
    half_width, half_height = np.abs(points - centre).max(axis=0)
    x, y, window = _around(image, (centre[0], centre[1]), half_width, half_height)
    distance: Floats = np.full(window.shape[:2], -np.inf)
    edges = zip(points - centre, np.roll(points - centre, -1, axis=0), strict=True)
    for start, end in edges:
        normal = np.array([end[1] - start[1], start[0] - end[0]]) / np.hypot(*(end - start))
        to_edge = (x - start[0]) * normal[0] + (y - start[1]) * normal[1]
        # The centre lies inside: it tells which side of an edge that is.
        distance = np.maximum(distance, to_edge if -start @ normal < 0 else -to_edge)
    _blend(window, distance, colour)


def text_size(text: str, scale: int = 1) -> tuple[int, int]:
    """Width and height of a line of text."""
    return max(0, (GLYPH_ADVANCE * len(text) - 1) * scale), GLYPH_HEIGHT * scale


def draw_text(image: Image, corner: Point, text: str, colour: Colour, *, scale: int = 1) -> None:
    """A line of text from its top left corner, in capitals.

    What the font lacks is drawn as a question mark.
    """
    glyphs = _font()
    for index, character in enumerate(text.upper()):
        glyph = glyphs.get(character, glyphs["?"])
        left, top = round(corner[0]) + index * GLYPH_ADVANCE * scale, round(corner[1])
        _stamp(image, left, top, np.kron(glyph, np.ones((scale, scale), np.bool_)), colour)


def draw_centred_text(
    image: Image, centre: Point, text: str, colour: Colour, *, scale: int = 1
) -> None:
    """A line of text around a point."""
    width, height = text_size(text, scale)
    draw_text(image, (centre[0] - width / 2, centre[1] - height / 2), text, colour, scale=scale)


def _around(
    image: Image, centre: Point, half_width: float, half_height: float
) -> tuple[Floats, Floats, Image]:
    """Pixel centres relative to `centre`, x [1, w] and y [h, 1].

    The third value is the part of the picture that they cover.
    """
    height, width = image.shape[:2]
    left, right = (
        int(np.clip(edge, 0, width))
        for edge in (centre[0] - half_width - 1, centre[0] + half_width + 2)
    )
    top, bottom = (
        int(np.clip(edge, 0, height))
        for edge in (centre[1] - half_height - 1, centre[1] + half_height + 2)
    )
    x = np.arange(left, right, dtype=np.float64)[None, :] + (0.5 - centre[0])
    y = np.arange(top, bottom, dtype=np.float64)[:, None] + (0.5 - centre[1])
    return x, y, image[top:bottom, left:right]


def _blend(window: Image, distance: Floats, colour: Colour) -> None:
    """Paint where the signed distance is negative, fading over one pixel."""
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    window[:] = np.rint(window + cover * (np.asarray(colour) - window)).astype(np.uint8)


def _stamp(image: Image, left: int, top: int, glyph: NDArray[np.bool_], colour: Colour) -> None:
    rows, columns = np.nonzero(glyph)
    rows, columns = rows + top, columns + left
    inside = (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    image[rows[inside], columns[inside]] = colour


@cache
def _font() -> dict[str, NDArray[np.bool_]]:
    """Character -> glyph [7, 5]."""
    glyphs = {}
    for characters, sheet in zip(CHARACTERS, FONT, strict=True):
        columns = [line.split() for line in sheet.split("\n") if line.strip()]
        for index, character in enumerate(characters):
            glyphs[character] = np.array(
                [[mark == "#" for mark in line[index]] for line in columns]
            )
    return glyphs
