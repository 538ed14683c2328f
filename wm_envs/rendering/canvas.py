"""Drawing in NumPy: shapes with smooth edges and a small bitmap font.

On uint8 RGB arrays [height, width, 3].

Positions and lengths are pixels, x to the right and y down from the top left corner; a colour is
three numbers from 0 to 255. The functions draw in place, and clip what lies outside the picture.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from wm_envs.kernel import kernel

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
    draw_path(image, np.array([start, end], np.float64), colour, thickness=thickness)


def draw_path(image: Image, points: Floats, colour: Colour, *, thickness: float = 2.0) -> None:
    """Lines with round ends between consecutive points [N, 2]."""
    # One type of every argument, so that one machine code serves all callers.
    _paint_path(image, np.ascontiguousarray(points, np.float64), colour, float(thickness))


def fill_polygon(image: Image, corners: list[Point], colour: Colour) -> None:
    """A convex polygon; its corners in either order of turning."""
    _paint_polygon(image, np.array(corners, np.float64), colour)


def fill_strip(
    image: Image, one_side: Floats, other_side: Floats, colours: NDArray[np.uint8]
) -> None:
    """The quadrilaterals between two lines of points [N, 2], with a colour each [N - 1, 3].

    They are grown by half a pixel, which hides the seams.
    """
    first, second = (np.ascontiguousarray(side, np.float64) for side in (one_side, other_side))
    _paint_strip(image, first, second, colours)


def text_size(text: str, scale: int = 1) -> tuple[int, int]:
    """Width and height of a line of text."""
    return max(0, (GLYPH_ADVANCE * len(text) - 1) * scale), GLYPH_HEIGHT * scale


def draw_text(image: Image, corner: Point, text: str, colour: Colour, *, scale: int = 1) -> None:
    """A line of text from its top left corner, in capitals.

    What the font lacks is drawn as a question mark.
    """
    for index, character in enumerate(text.upper()):
        left, top = round(corner[0]) + index * GLYPH_ADVANCE * scale, round(corner[1])
        _stamp(image, left, top, _glyph(character, scale), colour)


def draw_centred_text(
    image: Image, centre: Point, text: str, colour: Colour, *, scale: int = 1
) -> None:
    """A line of text around a point."""
    width, height = text_size(text, scale)
    draw_text(image, (centre[0] - width / 2, centre[1] - height / 2), text, colour, scale=scale)


def evenly_spaced(frames: Sequence[Image], number: int) -> list[Image]:
    """At most `number` of the frames, the first and the last among them."""
    places = np.linspace(0, len(frames) - 1, min(number, len(frames))).round().astype(int)
    return [frames[place] for place in np.unique(places)]


def contact_sheet(
    frames: Sequence[Image], *, num_columns: int = 4, gap: int = 6, colour: Colour = (120,) * 3
) -> Image:
    """Frames of one size as a grid, row by row."""
    num_columns = min(num_columns, len(frames))
    num_rows = -(-len(frames) // num_columns)
    height, width = frames[0].shape[0] + gap, frames[0].shape[1] + gap
    sheet = blank(num_columns * width + gap, num_rows * height + gap, colour)
    for place, frame in enumerate(frames):
        row, column = divmod(place, num_columns)
        top, left = row * height + gap, column * width + gap
        sheet[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    return sheet


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


# Lines and polygons are compiled: a picture of a road has hundreds of them.


@kernel
def _span(low: float, high: float, size: int) -> tuple[int, int]:
    """First pixel and end of those that a shape between two places can touch."""
    first = int(min(max(low - 1.0, 0.0), float(size)))
    end = int(min(max(high + 2.0, 0.0), float(size)))
    return first, end


@kernel
def _paint_pixel(image: Image, row: int, column: int, colour: Colour, distance: float) -> None:
    """As `_blend`, one pixel."""
    cover = min(max(0.5 - distance, 0.0), 1.0)
    if cover > 0.0:
        for channel in range(3):
            before = float(image[row, column, channel])
            after = before + cover * (colour[channel] - before)
            image[row, column, channel] = np.uint8(int(np.rint(after)))


@kernel
def _paint_path(image: Image, points: Floats, colour: Colour, thickness: float) -> None:
    for i in range(len(points) - 1):
        x1, y1, x2, y2 = points[i, 0], points[i, 1], points[i + 1, 0], points[i + 1, 1]
        left, right = _span(min(x1, x2) - thickness, max(x1, x2) + thickness, image.shape[1])
        top, bottom = _span(min(y1, y2) - thickness, max(y1, y2) + thickness, image.shape[0])
        middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
        half_x, half_y = (x2 - x1) / 2, (y2 - y1) / 2
        squared_length = max(half_x * half_x + half_y * half_y, 1e-12)
        for row in range(top, bottom):
            y = row + 0.5 - middle_y
            for column in range(left, right):
                x = column + 0.5 - middle_x
                along = min(max((x * half_x + y * half_y) / squared_length, -1.0), 1.0)
                aside = math.hypot(x - along * half_x, y - along * half_y)
                _paint_pixel(image, row, column, colour, aside - thickness / 2)


@kernel
def _paint_polygon(image: Image, corners: Floats, colour: Colour) -> None:
    num_corners = len(corners)
    left, right = _span(corners[:, 0].min(), corners[:, 0].max(), image.shape[1])
    top, bottom = _span(corners[:, 1].min(), corners[:, 1].max(), image.shape[0])
    inside_x, inside_y = corners[:, 0].mean(), corners[:, 1].mean()
    # The edges as (normal x, normal y, distance of the origin), the normals outward.
    edges = np.empty((num_corners, 3))
    for i in range(num_corners):
        x, y = corners[i, 0], corners[i, 1]
        along_x = corners[(i + 1) % num_corners, 0] - x
        along_y = corners[(i + 1) % num_corners, 1] - y
        length = max(math.hypot(along_x, along_y), 1e-12)
        normal_x, normal_y = along_y / length, -along_x / length
        # The centre lies inside: it tells which side of an edge that is.
        if (inside_x - x) * normal_x + (inside_y - y) * normal_y > 0:
            normal_x, normal_y = -normal_x, -normal_y
        edges[i, 0], edges[i, 1] = normal_x, normal_y
        edges[i, 2] = -(x * normal_x + y * normal_y)
    for row in range(top, bottom):
        for column in range(left, right):
            distance = -np.inf
            for i in range(num_corners):
                to_edge = (column + 0.5) * edges[i, 0] + (row + 0.5) * edges[i, 1] + edges[i, 2]
                distance = max(distance, to_edge)
            _paint_pixel(image, row, column, colour, distance)


@kernel
def _paint_strip(
    image: Image, one_side: Floats, other_side: Floats, colours: NDArray[np.uint8]
) -> None:
    quad, triangle = np.empty((4, 2)), np.empty((3, 2))
    for i in range(len(one_side) - 1):
        quad[0], quad[1] = one_side[i], one_side[i + 1]
        quad[2], quad[3] = other_side[i + 1], other_side[i]
        for axis in range(2):
            middle = quad[:, axis].mean()
            for corner in range(4):
                quad[corner, axis] += 0.6 * np.sign(quad[corner, axis] - middle)
        colour = (int(colours[i, 0]), int(colours[i, 1]), int(colours[i, 2]))
        if _is_convex(quad):
            _paint_polygon(image, quad, colour)
            continue
        # A sharp bend folds it into two triangles.
        for last in (2, 3):
            triangle[0], triangle[1], triangle[2] = quad[0], quad[last - 1], quad[last]
            if abs(_turn(triangle[0], triangle[1], triangle[2])) > 0.5:
                _paint_polygon(image, triangle, colour)


@kernel
def _turn(a: Floats, b: Floats, c: Floats) -> float:
    """Twice the area of a triangle, negative if its corners turn the other way."""
    return float((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]))


@kernel
def _is_convex(quad: Floats) -> bool:
    """Whether four corners turn the same way everywhere."""
    num_left = num_right = 0
    for i in range(4):
        turn = _turn(quad[i], quad[(i + 1) % 4], quad[(i + 2) % 4])
        num_left += turn > 0.5
        num_right += turn < -0.5
    return num_left == 4 or num_right == 4


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
def _glyph(character: str, scale: int) -> NDArray[np.bool_]:
    """The picture of a character [7 scale, 5 scale]."""
    glyphs = _font()
    glyph = glyphs.get(character, glyphs["?"])
    return np.kron(glyph, np.ones((scale, scale), np.bool_))


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
