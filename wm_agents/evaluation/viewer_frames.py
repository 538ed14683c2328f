"""Small frames of recorded episodes as one picture an episode, for the viewer's page.

All frames of an episode lie below each other in one PNG of sixteen colours (PNG specification,
third edition): what does not change from frame to frame takes hardly any room.
"""

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wm_agents.errors import SpaceError

Frame = NDArray[np.uint8]

MAX_HEIGHT, MAX_WIDTH = 96, 160
MAX_BYTES = 900_000
"""Of the pictures of all episodes, as they stand in the page."""

_NUM_COLOURS = 16


def shrink(frame: Any) -> Frame:
    """A frame [h, w, 3] as a smaller one of at most 96 by 160 pixels, by means of blocks.

    Raises:
        SpaceError: It is no picture of three colours.
    """
    # A tuple of lists is as good a frame as an array.
    picture = np.asarray(frame)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise SpaceError(
            f"a frame is uint8 of shape [height, width, 3], got {picture.dtype} {picture.shape}: "
            'make the environment with render_mode="rgb_array"'
        )
    height, width = picture.shape[:2]
    # Whole blocks of pixels: means of blocks need no resampling.
    block = max(1, -(-height // MAX_HEIGHT), -(-width // MAX_WIDTH))
    rows, columns = max(1, height // block), max(1, width // block)
    # What does not fill a block at the edges is left out.
    kept = picture[: rows * block, : columns * block]
    if kept.size < block * block * 3:
        return picture
    means = kept.reshape(rows, block, columns, block, 3).mean(axis=(1, 3))
    return means.round().astype(np.uint8)


def pictures(
    frames: Sequence[Sequence[Any]], num_steps: Sequence[int]
) -> list[dict[str, Any] | None]:
    """One picture an episode, for the page; None where it would grow too large.

    Args:
        frames: Of each episode one more than it has steps [T + 1, h, w, 3], or fewer where they
            were not rendered to the end.
        num_steps: Steps of each episode that the page shows.
    """
    found: list[dict[str, Any] | None] = []
    left = MAX_BYTES
    for episode, steps in zip(frames, num_steps, strict=False):
        if not len(episode):
            found.append(None)
            continue
        stack = np.stack([shrink(frame) for frame in episode[: steps + 1]])
        url = "data:image/png;base64," + base64.b64encode(png(stack)).decode()
        # Counted also where it is left out, so that the episodes that are shown are the first ones.
        left -= len(url)
        num, height, width = stack.shape[:3]
        picture = {"url": url, "count": num, "width": width, "height": height}
        found.append(picture if left >= 0 else None)
    return found


def png(frames: Frame) -> bytes:
    """Frames [T, h, w, 3] below each other as one PNG of at most sixteen colours."""
    rows = frames.reshape(-1, frames.shape[2], 3)
    palette, indices = _quantized(rows)
    height, width = indices.shape
    # Two pixels a byte.
    padded = np.zeros((height, width + width % 2), np.uint8)
    padded[:, :width] = indices
    packed = (padded[:, ::2] << 4) | padded[:, 1::2]
    lines = np.zeros((height, packed.shape[1] + 1), np.uint8)  # each begins with its filter, none
    lines[:, 1:] = packed
    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    chunks = [
        (b"IHDR", header),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _quantized(rows: Frame) -> tuple[Frame, Frame]:
    """Up to sixteen colours [C, 3] and the nearest one of each pixel [h, w].

    The most frequent colour, then again and again the one that those before it miss most.
    """
    # Five bits a colour: 32,768 different ones to choose from at most.
    codes = (rows.astype(np.int64) >> 3) @ np.array([1024, 32, 1])
    used, place, counts = np.unique(codes, return_inverse=True, return_counts=True)
    colours = np.stack([used >> 10, (used >> 5) & 31, used & 31], 1) * 255.0 / 31.0
    # The commonest colour first, then the furthest from all chosen ones, weighted by how often it
    # occurs.
    chosen = [int(np.argmax(counts))]
    distances = ((colours - colours[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < _NUM_COLOURS and distances.max() > 0:
        chosen.append(int(np.argmax(distances * np.sqrt(counts))))
        newest = ((colours - colours[chosen[-1]]) ** 2).sum(axis=1)
        distances = np.minimum(distances, newest)
    palette = colours[chosen]
    nearest = ((colours[:, None] - palette) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    return palette.round().astype(np.uint8), nearest[place.reshape(codes.shape)]
