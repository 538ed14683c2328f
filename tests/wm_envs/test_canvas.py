import numpy as np
import pytest

from wm_envs.rendering import canvas

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (200, 10, 30)


def painted(image, colour=RED):
    return (image == colour).all(axis=-1)


def test_a_rectangle_covers_its_pixels_and_no_others():
    image = canvas.blank(10, 8, WHITE)
    canvas.fill_rectangle(image, (2, 3), (4, 2), RED)
    expected = np.zeros((8, 10), bool)
    expected[3:5, 2:6] = True
    np.testing.assert_array_equal(painted(image), expected)
    np.testing.assert_array_equal(painted(image, WHITE), ~expected)


def test_rounded_corners_are_left_out():
    image = canvas.blank(20, 20, WHITE)
    canvas.fill_rectangle(image, (0, 0), (20, 20), RED, radius=8)
    assert painted(image, WHITE)[0, 0]
    assert painted(image)[10, 0]
    assert painted(image)[10, 10]


@pytest.mark.parametrize("radius", [5, 20])
def test_a_disc_has_the_area_of_a_circle(radius):
    image = canvas.blank(60, 60, BLACK)
    canvas.fill_disc(image, (30, 30), radius, WHITE)
    assert image[..., 0].sum() / 255 == pytest.approx(np.pi * radius**2, rel=0.01)


def test_a_ring_is_hollow():
    image = canvas.blank(40, 40, BLACK)
    canvas.draw_ring(image, (20, 20), 12, WHITE, thickness=4)
    assert painted(image, BLACK)[20, 20]
    assert painted(image, WHITE)[20, 8]
    assert image[..., 0].sum() / 255 == pytest.approx(2 * np.pi * 12 * 4, rel=0.02)


def test_a_line_runs_between_its_ends():
    image = canvas.blank(30, 30, WHITE)
    canvas.draw_line(image, (5, 5), (25, 25), RED, thickness=3)
    assert all(painted(image)[i, i] for i in range(5, 25))
    assert not painted(image)[5, 25]


@pytest.mark.parametrize("turn", [1, -1])
def test_a_polygon_is_filled_whichever_way_it_turns(turn):
    image = canvas.blank(40, 40, BLACK)
    canvas.fill_polygon(image, [(5, 5), (35, 5), (5, 35)][::turn], WHITE)
    assert image[..., 0].sum() / 255 == pytest.approx(450, rel=0.03)
    assert painted(image, WHITE)[10, 10]
    assert painted(image, BLACK)[30, 30]


def test_what_lies_outside_is_clipped():
    image = canvas.blank(10, 10, WHITE)
    canvas.fill_disc(image, (0, 0), 4, RED)
    canvas.fill_disc(image, (100, -100), 4, RED)
    canvas.fill_rectangle(image, (8, 8), (20, 20), RED)
    canvas.draw_text(image, (-3, 7), "WWW", RED)
    assert image.shape == (10, 10, 3)
    assert painted(image)[0, 0]
    assert painted(image)[9, 9]


def test_every_glyph_is_different_and_only_the_space_is_empty():
    glyphs = {}
    for character in "".join(canvas.CHARACTERS):
        image = canvas.blank(5, 7, WHITE)
        canvas.draw_text(image, (0, 0), character, BLACK)
        glyphs[character] = image.tobytes()
    assert len(set(glyphs.values())) == len(glyphs) == 52
    assert [c for c, pixels in glyphs.items() if pixels == canvas.blank(5, 7, WHITE).tobytes()] == [
        " "
    ]


def test_text_is_capitals_and_unknown_characters_are_question_marks():
    small, large = canvas.blank(20, 8, WHITE), canvas.blank(20, 8, WHITE)
    canvas.draw_text(small, (0, 0), "a~", BLACK)
    canvas.draw_text(large, (0, 0), "A?", BLACK)
    np.testing.assert_array_equal(small, large)


def test_text_fills_the_size_that_is_announced():
    image = canvas.blank(100, 40, WHITE)
    canvas.draw_text(image, (0, 0), "H#", BLACK, scale=3)
    rows, columns = np.nonzero(painted(image, BLACK))
    assert (columns.max() + 1, rows.max() + 1) == canvas.text_size("H#", 3) == (33, 21)
    assert canvas.text_size("") == (0, 7)


def test_a_strip_has_no_seams_and_its_colours_in_order():
    image = canvas.blank(40, 20, BLACK)
    x = np.array([2.0, 14.0, 26.0, 38.0])
    upper, lower = (np.stack([x, np.full(4, y)], axis=1) for y in (4.0, 16.0))
    canvas.fill_strip(image, upper, lower, np.array([RED, WHITE, RED], np.uint8))
    assert painted(image)[10, 3:12].all()
    assert painted(image, WHITE)[10, 16:24].all()
    assert not painted(image, BLACK)[6:14, 4:36].any()
    assert painted(image, BLACK)[:3].all()


def test_a_path_is_its_lines():
    corners = [(5, 5), (30, 8), (12, 25)]
    one, other = (canvas.blank(40, 30, WHITE) for _ in range(2))
    canvas.draw_path(one, np.array(corners), RED, thickness=3)
    canvas.draw_line(other, *corners[:2], RED, thickness=3)
    canvas.draw_line(other, *corners[1:], RED, thickness=3)
    np.testing.assert_array_equal(one, other)


def test_frames_are_evenly_spaced_with_both_ends():
    frames = [np.full((1, 1, 3), i, np.uint8) for i in range(11)]
    assert [int(f[0, 0, 0]) for f in canvas.evenly_spaced(frames, 3)] == [0, 5, 10]
    assert len(canvas.evenly_spaced(frames, 50)) == 11
    assert len(canvas.evenly_spaced(frames[:1], 4)) == 1


def test_a_contact_sheet_places_frames_row_by_row():
    frames = [np.full((2, 3, 3), 10 * i, np.uint8) for i in range(1, 4)]
    sheet = canvas.contact_sheet(frames, num_columns=2, gap=1)
    assert sheet.shape == (7, 9, 3)
    assert (sheet[1, 1, 0], sheet[1, 5, 0], sheet[4, 1, 0], sheet[4, 5, 0]) == (10, 20, 30, 120)
