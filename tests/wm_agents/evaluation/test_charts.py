"""Charts: places computed by hand, well-formed SVG, nothing loaded from anywhere."""

from xml.etree import ElementTree

import numpy as np
import pytest

from wm_agents.evaluation.charts import (
    Frame,
    Series,
    counted,
    line_chart,
    number_line,
    percent,
    round_ticks,
    short,
    spread_out,
    times_fewer,
)


def test_places_by_hand() -> None:
    frame = Frame(0, 10, 0, 2, width=720, height=340)
    # The picture leaves 58 pixels left, 150 right, 16 above and 46 below.
    assert frame.x(0) == 58
    assert frame.x(10) == 570
    assert frame.y(0) == 294
    assert frame.y(2) == 16
    assert frame.y(1) == 155


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (1, 32, [10, 20, 30]), (-0.5, 0.7, [-0.5, 0, 0.5])],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    found = round_ticks(low, high)
    assert found == pytest.approx(ticks)
    assert not any(np.signbit(value) and value == 0 for value in found)


@pytest.mark.parametrize("unit", [1e-300, 3e-13, 1e-12, 1e7, 1e300])
def test_ticks_of_any_unit_are_apart(unit: float) -> None:
    found = round_ticks(-0.5 * unit, 0.7 * unit)
    assert 3 <= len(set(found)) == len(found) <= 7
    assert found[0] >= -0.5001 * unit
    assert 0.0 in found


def test_curves_of_a_small_unit_fill_the_picture() -> None:
    for unit in (1.0, 1e-12):
        line = Series("", np.arange(3), np.array([-1.0, -0.5, 1.0]) * unit)
        chart = line_chart([line], x_label="", y_label="", description="")
        heights = [
            float(pair.split(",")[1])
            for path in ElementTree.fromstring(chart).iter("polyline")
            for pair in path.attrib["points"].split()
        ] or [
            float(word)
            for word in chart.split('d="M')[1].split('"')[0].replace("L", " ").split()[1::2]
        ]
        assert max(heights) - min(heights) > 150


def test_numbers_in_about_three_digits() -> None:
    numbers = (0, 0.00001, 0.00042, 0.0321, 1.234, 45.67, 1234.5, 1e6, -0.5)
    assert [short(value) for value in numbers] == [
        "0", "1e-05", "0.0004", "0.032", "1.23", "45.7", "1234", "1e+06", "-0.500",
    ]  # fmt: skip


def test_labels_are_pushed_apart_but_not_out_of_the_picture() -> None:
    assert spread_out([10, 50, 12], 16, 100) == [10, 50, 26]
    assert spread_out([98, 99, 20], 16, 100) == [84, 100, 20]
    assert spread_out([5.0], 16, 100) == [5.0]


def test_shares_near_the_ends_get_a_decimal() -> None:
    assert [percent(share) for share in (0, 0.012, 0.5, 0.9968, 1, 1.01, 1.2, -2.0)] == [
        "0%", "1.2%", "50%", "99.7%", "100%", "101.0%", "120%", "-200%",
    ]  # fmt: skip


def test_a_chart_is_well_formed_and_stands_alone() -> None:
    series = [
        Series("a <b> & c", [1, 2, 3], [0.1, 0.2, 9.0], [0, 0.1, 5.0], [0.2, 0.3, 10.0]),
        Series("d", [1, 2, 3], [0.3, np.nan, 0.3], colour=1, is_dashed=True),
    ]
    text = line_chart(
        series,
        x_label="x",
        y_label="y",
        description='says "it"',
        y_limit=1.0,
        shaded=(1, 2, "s"),
        threshold=(0.5, "t"),
    )
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == 'says "it"'
    assert [element.tag for element in root].count("polyline") == 2
    assert "a <b> & c ↑" in "".join(root.itertext())  # its end lies above the frame
    assert len([e for e in root if e.tag == "polyline"][1].attrib["points"].split()) == 2
    assert "http" not in text


def test_a_number_line_shows_every_mark() -> None:
    root = ElementTree.fromstring(
        number_line([("low", -10.0, 1), ("high", 5.0, 0)], (3.0, float("inf")), "d")
    )
    assert {"low -10.0", "high 5.00"} <= {element.text for element in root if element.tag == "text"}


def test_what_is_no_number_or_hidden_by_rounding_is_said() -> None:
    assert percent(float("nan")) == short(float("nan")) == "\N{EN DASH}"
    assert percent(-0.0) == percent(0.0) == "0%"
    assert percent(-0.0001) == "0.0%"
    assert percent(0.0001) == "<0.1%"
    assert percent(0.9999) == ">99.9%"
    assert short(-0.0) == "0"
    assert [counted(number, "step") for number in (0, 1, 2, 3000)] == [
        "0 steps",
        "1 step",
        "2 steps",
        "3,000 steps",
    ]
    found = [times_fewer(ratio, "steps") for ratio in (0.5, 0.96, 1.0, 1.04, 2.5)]
    assert found == ["2.0 times more steps", *["as many steps"] * 3, "2.5 times fewer steps"]
