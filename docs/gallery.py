"""Draw docs/images/domains.gif, one moving picture of every domain, for the README.

python docs/gallery.py
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import wm_envs  # noqa: F401 - registers the ids

FRAMES, WIDTH, HEIGHT, CAPTION, GAP = 30, 240, 180, 24, 8
SHOWN: dict[str, dict[str, Any]] = {
    "wm/LightsOut-v0": {},
    "wm/UNResolution-v0": {},
    "wm/Pong-v0": {},
    "wm/Driving-v0": {"track": "figure_eight"},
    "wm/Debate-v0": {},
}
STEPS_PER_FRAME = {"wm/Driving-v0": 12}


def frames(env_id: str, options: dict[str, Any]) -> list[Image.Image]:
    """What an environment looks like while its expert plays it, or random actions where there is none."""
    env = gym.make_vec(env_id, num_envs=1, render_mode="rgb_array", **options)
    env.action_space.seed(0)
    env.reset(seed=0)
    pictures = []
    for _ in range(FRAMES):
        pictures.append(panel(env.render()[0], env_id))
        for _ in range(STEPS_PER_FRAME.get(env_id, 1)):
            env.step(
                env.expert_actions()
                if hasattr(env, "expert_actions")
                else env.action_space.sample()
            )
    env.close()
    return pictures


def panel(picture: NDArray[np.uint8], caption: str) -> Image.Image:
    """A picture, fitted into its place above its caption."""
    image = Image.new("RGB", (WIDTH, HEIGHT + CAPTION), "white")
    fitted = Image.fromarray(picture)
    fitted.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    image.paste(fitted, ((WIDTH - fitted.width) // 2, (HEIGHT - fitted.height) // 2))
    ImageDraw.Draw(image).text(
        (WIDTH // 2, HEIGHT + 12), caption, "black", ImageFont.load_default(13), anchor="mm"
    )
    return image


def main(path: Path = Path(__file__).parent / "images" / "domains.gif") -> None:
    """Play all domains and lay them side by side."""
    played = [frames(env_id, options) for env_id, options in SHOWN.items()]
    size = (len(played) * (WIDTH + GAP) - GAP, HEIGHT + CAPTION)
    sheets = []
    for pictures in zip(*played, strict=True):
        sheet = Image.new("RGB", size, "white")
        for place, picture in enumerate(pictures):
            sheet.paste(picture, (place * (WIDTH + GAP), 0))
        sheets.append(sheet.quantize(48, dither=Image.Dither.NONE))
    sheets[0].save(
        path, save_all=True, append_images=sheets[1:], duration=160, loop=0, optimize=True
    )
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
