"""Pictures in a labelled grid."""

import pytest
import torch
from PIL import ImageFont

GAP = 8


@pytest.fixture
def grid(pack):
    return pack("nodes.grid")


def pictures(count, height=48, width=48):
    """Pictures of one colour each, no two alike and none grey, as the edges of letters are."""
    shades = torch.linspace(0.1, 0.9, count)
    return [torch.tensor([float(shade), 1 - float(shade), 0.95]).expand(height, width, 3) for shade in shades]


def found(page, picture):
    """``(left, top, width, height)`` of the pixels of a picture of one colour."""
    rows, columns = ((page[0] - picture[0, 0]).abs().amax(-1) < 0.5 / 255 + 1e-6).nonzero(as_tuple=True)
    left, top = int(columns.min()), int(rows.min())
    assert len(rows) == (int(columns.max()) - left + 1) * (int(rows.max()) - top + 1)  # one rectangle
    return left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1


def test_rows_of_pictures_under_one_line_of_labels(grid):
    shown = pictures(6)
    page = grid.labelled_grid(["one", "two", "three"], [shown[:3], shown[3:]])
    boxes = [found(page, picture) for picture in shown]
    assert {box[2:] for box in boxes} == {(192, 192)}  # enlarged four times
    assert [box[0] for box in boxes] == 2 * [GAP, GAP + 200, GAP + 400]
    assert len({box[1] for box in boxes[:3]}) == 1
    assert {box[1] for box in boxes[3:]} == {boxes[0][1] + 192 + GAP}
    for left, top, width, _ in boxes[:3]:
        assert (page[0, :top, left : left + width] < 0.3).any()  # ink
    assert (page[0, boxes[0][1] + 192 : boxes[3][1]] == 1).all()  # none between rows


def test_one_long_row_goes_on_below_with_labels(grid):
    shown = pictures(7)
    page = grid.labelled_grid([str(n) for n in range(7)], [shown])
    boxes = [found(page, picture) for picture in shown]
    assert [box[0] for box in boxes[4:]] == [box[0] for box in boxes[:3]]  # at most five side by side
    below = page[0, boxes[0][1] + 192 : boxes[4][1], : boxes[0][2]]
    assert (below < 0.3).any()


def test_long_rows_of_several_portraits_go_on_below_together(grid):
    first, second = pictures(28)[:14], pictures(28)[14:]
    page = grid.labelled_grid([str(n) for n in range(14)], [first, second])
    assert page.shape[2] == 7 * 200 + GAP  # 14 in two blocks of at most twelve
    order = [first[0], second[0], first[7], second[7]]
    assert [found(page, picture)[0] for picture in order] == [GAP] * 4
    tops = [found(page, picture)[1] for picture in order]
    assert tops == sorted(tops)


@pytest.mark.parametrize(("size", "cell"), [((512, 512), (512, 512)), ((100, 60), (200, 120)), ((192, 96), (192, 96))])
def test_small_pictures_are_enlarged_by_a_whole_factor(grid, size, cell):
    shown = pictures(2, *size)
    page = grid.labelled_grid(["a", "b"], [shown])
    assert found(page, shown[1])[2:] == cell[::-1]


def test_a_picture_of_another_shape_is_shown_whole(grid):
    wide, square = pictures(2, 50, 200)[0], pictures(2, 192, 192)[1]
    page = grid.labelled_grid(["wide", "square"], [[wide, square]])
    assert found(page, wide)[2:] == (192, 48)
    assert found(page, square)[2:] == (192, 192)


def test_too_many_large_pictures_are_made_smaller(grid, monkeypatch):
    monkeypatch.setattr(grid, "MOST", 8 * 100 * 100)
    shown = pictures(8, 400, 400)
    page = grid.labelled_grid([str(n) for n in range(8)], [shown])
    assert found(page, shown[0])[2:] == (100, 100)


@pytest.mark.parametrize("width", [60, 128, 512])
@pytest.mark.parametrize("label", ["beta 0.4", "queries=stored beta=0.2 keys=content+style", 40 * "output.9-11,"])
def test_labels_fit_their_columns_and_lose_nothing(grid, label, width):
    font = ImageFont.load_default(max(14, width // 16))
    text = grid.wrapped(label, font, width)
    assert "".join(text.split()) == "".join(label.split())
    assert all(font.getlength(line) <= width for line in text.splitlines())
    assert all(text.splitlines())


@pytest.mark.parametrize("side", [48, 512])
def test_ink_stays_above_its_picture_and_inside_the_page(grid, side):
    """A label of five lines: nothing of it is cut off at the top, nor drawn over the picture or the neighbour."""
    shown = pictures(3, side, side)
    page = grid.labelled_grid(["x", "gypsy jolly " * 8, "y"], [shown])
    left, top, width, _ = found(page, shown[1])
    assert (page[0, 0] == 1).all()
    dark = (page[0, :top] < 0.5).any(-1).nonzero()[:, 1]
    inside = (dark >= left) & (dark < left + width)
    others = [found(page, shown[n])[0] + width / 2 for n in (0, 2)]
    assert inside.sum() > 100
    assert all(any(abs(int(column) - middle) < width / 16 for middle in others) for column in dark[~inside])
