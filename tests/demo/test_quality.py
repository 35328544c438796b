"""The quality benchmark's own laws: what its measures see and what they do not, its pairs, its baselines."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from truth import classifiers
from truth import pairs as pairing
from truth.classical import match_histograms, monge_kantorovich, patch_texture, reinhard
from truth.measures import (
    color_distance,
    gradient_ssim,
    lab,
    patch_distance,
    psnr,
    ssim,
    structure_within,
    texture_distance,
)
from truth.pairs import UNSEEN, Pair, pairs, photographs
from truth.sheet import sheet

from demo.render import render, scene
from demo.render.styles import KINDS, apply, style
from demo.train import natural

SIZE = 64
DISTANCES = (color_distance, patch_distance, texture_distance)


@pytest.fixture(scope="module")
def rows() -> list[Pair]:
    return pairs(SIZE, 14)


def checks(cell: int, low=0.35, high=0.65) -> np.ndarray:
    """A board of squares of `cell` pixels, a slow gradient over it: (64, 64, 3) of mean about 0.5."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    board = np.where((y // cell + x // cell) % 2, high, low) + (x - 31.5) / 640
    return np.repeat(board[..., None], 3, 2).astype(np.float32)


# Measures


def test_a_picture_is_nearest_to_itself(rows):
    for row in rows[:3]:
        for image in (row.content, row.truth):
            assert [distance(image, image) for distance in DISTANCES] == [0.0, 0.0, 0.0]
            assert ssim(image, image) == pytest.approx(1)
            assert gradient_ssim(image, image) == pytest.approx(1)
            assert psnr(image, image) == pytest.approx(100)
        assert all(distance(row.content, row.truth) > 1 for distance in DISTANCES)


def test_psnr_knows_its_unit():
    grey = np.full((8, 8, 3), 0.5, np.float32)
    assert psnr(grey, grey + np.float32(0.1)) == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("distance", [color_distance, patch_distance])
def test_a_shift_of_lightness_reads_its_own_size(distance):
    dark, light = (np.full((16, 16, 3), v, np.float32) for v in (0.3, 0.6))
    shift = float(lab(light)[0, 0, 0] - lab(dark)[0, 0, 0])
    assert distance(dark, light) == pytest.approx(shift, rel=0.2)


def test_a_change_of_colour_moves_colours_and_patches_but_not_texture(rows):
    image = rows[0].content * np.float32(0.5) + np.float32(0.25)  # well inside the range: nothing is clipped
    other = rows[1].truth
    tinted = reinhard(image, image * np.float32([1.0, 0.8, 0.6]) + np.float32([0.1, 0.0, 0.1]))
    assert color_distance(image, tinted) > 5
    assert patch_distance(image, tinted) > 5
    assert texture_distance(image, tinted) < 1
    assert texture_distance(tinted, other) == pytest.approx(texture_distance(image, other), rel=0.02)


def test_a_change_of_texture_moves_texture_but_not_colours():
    fine, coarse = checks(2), checks(4)
    assert color_distance(fine, coarse) < 0.2
    assert texture_distance(fine, coarse) > 10
    assert patch_distance(fine, coarse) > 1
    assert texture_distance(checks(2, 0.45, 0.55), fine) < 3  # contrast is not texture
    assert texture_distance(fine[::-1, ::-1], fine) < 1  # nor is place


def test_texture_finds_the_style_among_others(rows):
    """Also in another palette and with the strokes elsewhere; colours alone do not."""
    some = rows[::2]
    nearest = [np.argmin([texture_distance(row.truth, other.misaligned) for other in some]) for row in some]
    assert np.mean(np.equal(nearest, range(len(some)))) >= 0.8


def test_pictures_may_differ_in_size(rows):
    image = rows[0].truth
    for distance in DISTANCES:
        assert distance(image[:48], image) < 0.5 * distance(rows[0].content, image)
        assert distance(image[:48], image) == pytest.approx(distance(image[:48].transpose(1, 0, 2), image), rel=0.6)


def test_structure_falls_when_the_drawing_goes(rows):
    content = rows[0].content
    recolored = content @ np.float32([[0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0.5, 0.5]])
    assert gradient_ssim(recolored, content) > 0.8
    assert gradient_ssim(np.roll(content, 9, 0), content) < 0.5
    assert gradient_ssim(rows[2].content, content) < 0.5


def test_structure_within_a_mask_sees_only_that(rows):
    """Eyes and mouth are gone, or everything else is."""
    for row in rows[:3]:
        mask = np.maximum(*row.features.values())
        wide = gaussian_filter(mask, 2)[..., None] > 1e-3
        blurred = gaussian_filter(row.content, (3, 3, 0))
        without, only = np.where(wide, blurred, row.content), np.where(wide, row.content, blurred)
        assert structure_within(row.content, row.content, mask) == pytest.approx(1)
        assert structure_within(without, row.content, mask) < 0.7 * structure_within(only, row.content, mask)
        assert gradient_ssim(without, row.content) > gradient_ssim(only, row.content)


def test_an_empty_mask_has_no_structure():
    image = checks(4)
    assert np.isnan(structure_within(image, image, np.zeros((SIZE, SIZE))))


# Baselines


@pytest.mark.parametrize("recolor", [reinhard, monge_kantorovich])
def test_a_transfer_of_colours_keeps_the_drawing(recolor, rows):
    for row in rows[:4]:
        result = recolor(row.content, row.misaligned)
        assert color_distance(result, row.misaligned) < 0.6 * color_distance(row.content, row.misaligned)
        assert gradient_ssim(result, row.content) > 0.6


def test_monge_kantorovich_takes_mean_and_covariance(rows):
    r = np.random.default_rng(0)
    greys = [0.5 + 0.06 * (r.normal(size=(32, 32, 3)) @ r.normal(size=(3, 3))) for _ in range(2)]  # within 0..1
    content, style = (np.clip(image, 0, 1).astype(np.float32) for image in greys)
    result, wanted = (lab(image).reshape(-1, 3) for image in (monge_kantorovich(content, style), style))
    np.testing.assert_allclose(result.mean(0), wanted.mean(0), atol=0.5)
    np.testing.assert_allclose(np.cov(result.T), np.cov(wanted.T), rtol=0.05, atol=0.05 * np.var(wanted))


def test_histograms_match(rows):
    result = match_histograms(rows[0].content, rows[0].misaligned)
    assert result.dtype == np.float32
    for channel in range(3):
        ends = (np.quantile(image[..., channel], (0.1, 0.5, 0.9)) for image in (result, rows[0].misaligned))
        np.testing.assert_allclose(*ends, atol=0.03)


def test_quilting_takes_the_texture_too(rows):
    chosen = rows[2:8:2]
    quilted = [patch_texture(row.content, row.misaligned) for row in chosen]
    ours = [texture_distance(result, row.misaligned) for result, row in zip(quilted, chosen, strict=True)]
    colors = [texture_distance(reinhard(row.content, row.misaligned), row.misaligned) for row in chosen]
    assert np.mean(ours) < 0.5 * np.mean(colors)
    for result, row in zip(quilted, chosen, strict=True):
        assert result.shape == row.content.shape
        assert 0 <= result.min() <= result.max() <= 1
    own = [gradient_ssim(result, row.content) for result, row in zip(quilted, chosen, strict=True)]
    strange = [gradient_ssim(result, rows[0].content) for result in quilted]
    assert np.mean(own) > np.mean(strange) + 0.05  # it is still this person


def test_quilting_a_picture_with_itself_gives_it_back(rows):
    content = rows[4].content
    assert psnr(patch_texture(content, content), content) > 30


# Pairs


def test_pairs_are_balanced_and_prefixes_nearly_so():
    every = [(i % pairing.IDENTITIES, KINDS[i % len(KINDS)]) for i in range(pairing.ALL)]
    assert set(Counter(every).values()) == {2}
    assert set(Counter(kind for _, kind in every).values()) == {12}
    assert set(Counter(person for person, _ in every).values()) == {14}
    some = pairs(16, 30)
    assert [(p.identity, p.kind) for p in some] == every[:30]


def test_pairs_are_deterministic_and_do_not_depend_on_the_count(rows):
    for one, two in zip(rows, pairs(SIZE, 3), strict=False):
        for name in ("content", "truth", "aligned", "misaligned"):
            assert np.array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("count", [0, 169])
def test_a_wrong_count_is_refused(count):
    with pytest.raises(ValueError, match="1 to 168"):
        pairs(16, count)


def test_the_parts_share_no_person_and_no_style():
    """Nor does the other part's style of an index paint like this one's."""
    assert not set(pairing.people("development")) & set(pairing.people("report"))
    chosen, told = pairs(32, 14), pairs(32, 14, "report")
    for one, other in zip(chosen, told, strict=True):
        assert (one.identity, one.kind) == (other.identity, other.kind)
        assert one.person != other.person
        for name in ("content", "truth", "aligned", "misaligned"):
            assert not np.array_equal(getattr(one, name), getattr(other, name))
    with pytest.raises(ValueError, match="development or report"):
        pairs(16, 1, "both")


def test_references_that_were_not_used_are_of_other_kinds_and_do_not_depend_on_the_count(rows):
    many = pairs(16, 24)
    for index in (0, 5, 11, 12, 23):
        found = pairing.others(many, index, "misaligned")
        assert len(found) == pairing.OTHERS
        of = [pair for image in found for pair in many if pair.misaligned is image]
        assert many[index].kind not in {pair.kind for pair in of}
        assert many[index].identity not in {pair.identity for pair in of}
    for short, long in zip(pairing.others(many[:12], 3, "aligned"), pairing.others(many, 3, "aligned"), strict=True):
        assert short is long


def test_features_are_where_the_contents_are(rows):
    for row in rows[:3]:
        assert set(row.features) == {"eyes", "mouth"}
        for mask in row.features.values():
            assert mask.shape == row.content.shape[:2]
            assert 0 < mask.mean() < 0.1


def test_truths_and_references_are_what_they_say(rows):
    person = scene(2_000_003)
    content, _ = render(person, SIZE)
    assert np.array_equal(rows[3].content, content)
    chosen = style(3_000_003, rows[3].kind)
    assert np.array_equal(rows[3].truth, apply(chosen, content))
    sitter = render(replace(scene(2_001_003), pose=person.pose), SIZE)[0]
    assert np.array_equal(rows[3].aligned, apply(chosen, sitter))
    moved = pairing.mirrored_and_shifted(render(scene(2_002_003), SIZE)[0])
    assert np.array_equal(rows[3].misaligned, apply(pairing.other_texture(chosen), moved))


def test_another_texture_is_the_same_style(rows):
    content, chosen = rows[0].content, style(3_000_000, "oil")
    one, two = apply(chosen, content), apply(pairing.other_texture(chosen), content)
    assert psnr(one, two) < 30
    assert texture_distance(one, two) < 0.3 * texture_distance(content, two)
    assert color_distance(one, two) < 0.2 * color_distance(content, two)


def test_mirrored_and_shifted_moves_by_whole_pixels():
    image = np.arange(100 * 100 * 3, dtype=np.float32).reshape(100, 100, 3)
    moved = pairing.mirrored_and_shifted(image)
    assert moved.shape == image.shape
    assert np.array_equal(moved[8:, 14:], image[:92, ::-1][:, :86])


def test_photographs_are_squares_in_range_and_some_were_never_trained_on():
    trained, unseen = photographs(48), photographs(48, UNSEEN)
    assert [name for name, _ in trained] == ["astronaut", "hopper"]
    assert [name for name, _ in unseen] == ["biden", "obama"]
    assert not set(UNSEEN) & set(natural.PHOTOGRAPHS)
    for _, image in trained + unseen:
        assert image.shape == (48, 48, 3)
        assert image.dtype == np.float32
        assert 0 <= image.min() < image.max() <= 1


# Classifiers (their training takes minutes and is no test)


def test_classifiers_are_stored_once_and_judge_alike_afterwards(tmp_path, monkeypatch):
    trained = []
    for name in ("_train_people", "_train_styles"):
        monkeypatch.setattr(classifiers, name, lambda *arguments, name=name: trained.append(name))
    images = np.random.default_rng(3).random((5, 64, 64, 3), np.float32)
    first, second = classifiers.train(64, tmp_path), classifiers.train(128, tmp_path)
    assert len(trained) == len(list(tmp_path.glob("*.safetensors"))) == 2
    double = images.repeat(2, 1).repeat(2, 2)  # 128 pixels, averaged down to the same
    assert np.array_equal(first.identity(images), second.identity(double))
    assert np.array_equal(first.style(images), second.style(double))
    classifiers.train(64, tmp_path, "report")
    assert trained == ["_train_people", "_train_styles", "_train_people"]  # styles are the same
    with pytest.raises(ValueError, match="at least 64"):
        classifiers.train(32, tmp_path)


# Contact sheet


def test_a_sheet_shows_every_picture(tmp_path):
    from PIL import Image

    colors = [np.full((32, 32, 3), v, np.float32) for v in (0.0, 0.4, 0.8, 0.2)]
    sheet(["first", "a name that is too long for a column"], [colors[:2], colors[2:]], tmp_path / "sheet.png")
    seen = {value for _, value in Image.open(tmp_path / "sheet.png").convert("L").getcolors(10**6)}
    assert {0, 102, 204, 51} <= seen
    with pytest.raises(ValueError, match="2 pictures in each row"):
        sheet(["a", "b"], [colors[:3]], tmp_path / "bad.png")
