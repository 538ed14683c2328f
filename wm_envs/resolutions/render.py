"""State row -> picture and text: the stage, the hemicycle with its votes, the tally."""

import math
from typing import Any

from wm_envs.rendering import canvas
from wm_envs.rendering.canvas import Colour, Image
from wm_envs.resolutions.codes import TALLIES, ResolutionAction, Stage

WIDTH, HEIGHT = 400, 300
PAPER, INK, GREY, PALE = (250, 248, 243), (38, 43, 51), (140, 143, 148), (214, 211, 203)
# Told apart by the colour-blind (after Okabe & Ito 2008).
VOTE_COLOURS: dict[str, Colour] = {
    "yes": (0, 158, 115),
    "abstain": (240, 190, 66),
    "no": (213, 94, 0),
}
STAGES = ("DRAFT", "COMMITTEE", "PLENARY", "END")
CENTRE, INNER_RADIUS, ROW_STEP, NUM_ROWS = (200.0, 232.0), 62.0, 14.5, 7


def draw(state: Any, parameters: Any) -> Image:
    """The picture of a state row, uint8 [300, 400, 3]."""
    image = canvas.blank(WIDTH, HEIGHT, PAPER)
    _draw_stages(image, int(state["stage"]))
    name, tally = _latest_tally(state)
    _draw_hemicycle(image, tally, int(parameters["num_countries"]))
    if name:
        text = f"{name}: YES {tally['yes']}, NO {tally['no']}, ABSTAIN {tally['abstain']}"
        canvas.draw_centred_text(image, (CENTRE[0], 56), text, INK, scale=1)
    sponsors = f"{int(state['num_sponsors'])} SPONSORS" + (
        ", THIS COUNTRY TOO" if state["is_sponsor"] else ""
    )
    canvas.draw_text(image, (16, 250), sponsors, INK, scale=1)
    last = "A DRAFT IS ON THE TABLE"
    if state["time"]:
        name = ResolutionAction(int(state["action"])).name.replace("_", " ")
        last = f"LAST ACTION: {name}"
    canvas.draw_text(image, (16, 268), last, INK, scale=1)
    if state["is_invalid"]:
        canvas.draw_text(image, (16, 284), "NOT ALLOWED IN THIS STAGE", VOTE_COLOURS["no"], scale=1)
    _draw_legend(image)
    return image


def describe(state: Any, _: Any) -> str:
    """A state row as a line of text."""
    parts = [STAGES[int(state["stage"])].lower(), f"{int(state['num_sponsors'])} sponsors"]
    for stage in ("committee", "plenary"):
        yes, no, abstain = (int(state[f"{stage}_{name}"]) for name in TALLIES)
        if yes + no + abstain:
            parts.append(f"{stage} {yes}-{no}-{abstain}")
    if state["stage"] == Stage.TERMINAL:
        parts.append("adopted" if state["is_adopted"] else "rejected")
    return ", ".join(parts)


def seats(num_seats: int) -> list[tuple[float, float]]:
    """Seat centres of a hemicycle in pixels, from left to right by angle.

    Each row has as many as fit.
    """
    radii = [INNER_RADIUS + ROW_STEP * row for row in range(NUM_ROWS)]
    # Rows get seats by their length; the outermost takes what rounding leaves over.
    shares = [num_seats * radius / sum(radii) for radius in radii]
    counts = [round(share) for share in shares]
    counts[-1] += num_seats - sum(counts)
    placed = [
        (math.pi * (index + 0.5) / count, radius)
        for radius, count in zip(radii, counts, strict=True)
        for index in range(count)
    ]
    # By angle: votes then fill sectors of the hemicycle and not rows.
    placed.sort()
    return [
        (CENTRE[0] - r * math.cos(angle), CENTRE[1] - r * math.sin(angle)) for angle, r in placed
    ]


def _latest_tally(state: Any) -> tuple[str, dict[str, int]]:
    for stage in ("plenary", "committee"):
        tally = {name: int(state[f"{stage}_{name}"]) for name in TALLIES}
        if sum(tally.values()):
            return stage.upper(), tally
    return "", dict.fromkeys(TALLIES, 0)


def _draw_stages(image: Image, stage: int) -> None:
    for index, name in enumerate(STAGES):
        centre = (56 + index * 96.0, 20.0)
        is_now = index == stage
        canvas.fill_rectangle(
            image, (centre[0] - 42, 8), (84, 24), INK if is_now else PALE, radius=6
        )
        canvas.draw_centred_text(image, centre, name, PAPER if is_now else GREY, scale=1)


def _draw_hemicycle(image: Image, tally: dict[str, int], num_countries: int) -> None:
    """One disc a country.

    Yes from the left, no from the right, abstentions beside yes, the absent left pale.
    """
    # A recorded tally may count more than the list of countries.
    places = seats(max(num_countries, sum(tally.values())))
    colours: list[Colour] = [PALE] * len(places)
    colours[: tally["yes"]] = [VOTE_COLOURS["yes"]] * tally["yes"]
    end = tally["yes"] + tally["abstain"]
    colours[tally["yes"] : end] = [VOTE_COLOURS["abstain"]] * tally["abstain"]
    if tally["no"]:
        colours[-tally["no"] :] = [VOTE_COLOURS["no"]] * tally["no"]
    for place, colour in zip(places, colours, strict=True):
        canvas.fill_disc(image, place, 4.6, colour)


def _draw_legend(image: Image) -> None:
    for index, (name, colour) in enumerate([*VOTE_COLOURS.items(), ("absent", PALE)]):
        y = 248.0 + 12 * index
        canvas.fill_disc(image, (320, y), 4, colour)
        canvas.draw_text(image, (330, y - 3), name, INK, scale=1)
