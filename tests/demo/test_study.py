"""A study of the quality benchmark keeps no more in memory than it needs, and no rows of other weights; what it may
cost is counted."""

import pickle
import weakref
from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from truth import classifiers
from truth.budget import ALL, QUICK, WHOLE
from truth.classifiers import Classifiers
from truth.first import FirstDefault
from truth.methods import Picture, Row, Setting, rows
from truth.pairs import ALL as ALL_PAIRS
from truth.pairs import Pair, pairs
from truth.report import DEFAULT, FIRST, NOTHING, REINHARD, TRUTH
from truth.store import Store
from truth.study import MEASURES, Study
from truth.stylization import Options, Stylization

from demo.codec import PatchCodec
from demo.network import SMALL, Network
from demo.render.styles import KINDS
from magicstyle_core.bank.features import Feature
from magicstyle_core.fusion.base import AttentionInputs, Moment


class BanksOnly:
    """Stands for the network: banks of nothing, and how many of them are in memory."""

    class Bank:
        pass

    def __init__(self):
        self.banks = weakref.WeakSet()
        self.inversions = 0

    def invert(self, images, steps):
        self.inversions += 1
        bank = self.Bank()
        self.banks.add(bank)
        return bank

    def stylize(self, content, patches, style, look):
        return torch.zeros(12, 3, 8, 8)


def gray_pairs(count):
    gray = np.random.default_rng(0).random((8, 8, 3), np.float32)
    return [Pair(0, i % 12, KINDS[0], gray, gray, gray, gray) for i in range(count)]


def test_a_study_holds_the_banks_of_one_group_of_pairs(tmp_path):
    """One bank of contents, and those of a group's references and recoloured contents, each inverted once."""
    network = BanksOnly()
    study = Study(network, gray_pairs(36), None, tmp_path)
    for references, group in product(("aligned", "misaligned"), range(3)):
        for recolor in (False, True, False, True):
            study.images(Row("a row", Setting(recolor=recolor)), references, group)
        assert len(network.banks) == 3
    assert network.inversions == 1 + 2 * (3 + 3)


def test_rows_of_another_decoder_or_part_are_measured_anew(tmp_path):
    network = Network.load(SMALL)
    codec = network.codec
    plain = replace(network, codec=PatchCodec.plain(codec.mean, codec.basis, codec.scale))
    made = []
    for one, part in ((network, "report"), (plain, "report"), (network, "development"), (network, "report")):
        Study(one, gray_pairs(1), None, tmp_path, part=part).store.result("row", "a setting", lambda: made.append(1))
    assert len(made) == 3


def test_a_result_is_there_as_a_whole_or_not_at_all(tmp_path):
    store = Store(tmp_path, "key")
    assert store.result("a row", "one", lambda: [1.5, float("nan")])[0] == 1.5
    with pytest.raises(TypeError, match="serializable"):
        store.result("a row", "two", lambda: object())
    assert store.result("a row", "two", lambda: 2) == 2
    picture = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(8, 8, 3)
    for made in (lambda: [picture], list):
        (kept,) = store.pictures("a row", "one", made)
        np.testing.assert_allclose(kept, picture, atol=0.5 / 255 + 1e-6)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_short_run_measures_a_prefix_of_a_long_one(tmp_path):
    """What was measured on fewer pairs serves more: only the twelves that are new are drawn."""
    drawn = []

    def draw(content, reference):
        drawn.append(1)
        return content

    some = pairs(64, 24)
    judges = Classifiers(classifiers.network(12, 4, (2, 2)), classifiers.network(len(KINDS), 1, (2, 2)))
    study = Study(Network.load(SMALL), some, judges, tmp_path)
    row = Row("as it was", Picture(draw))
    short = study.measure(row, "misaligned", 12)
    long = study.measure(row, "misaligned", 24)
    assert len(drawn) == 24
    for name in MEASURES:
        np.testing.assert_array_equal(long[name][:12], short[name])
    assert np.isnan(long["face"]).all()  # without a recognizer
    assert np.nanmean(long["structure"]) == pytest.approx(1)
    assert np.nanmean(long["eyes"]) == pytest.approx(1)


# What the bounds read is in every run that tells of it


@pytest.mark.parametrize("budget", [QUICK, WHOLE, ALL])
def test_pairs_are_whole_twelves_and_all_bounds_find_their_rows(budget):
    counts = {(row.name, s): row.pairs(s, budget) for row in rows() for s in ("aligned", "misaligned")}
    assert not any(count % 12 for count in counts.values())
    assert max(counts.values()) <= ALL_PAIRS
    for name in (DEFAULT, FIRST, TRUTH):
        assert counts[name, "misaligned"] == budget.main
    for references, name in product(("aligned", "misaligned"), (DEFAULT, NOTHING, REINHARD)):
        assert counts[name, references] >= budget.other


def test_longer_runs_measure_all_that_shorter_ones_do():
    for row, references in product(rows(), ("aligned", "misaligned")):
        counts = [row.pairs(references, budget) for budget in (QUICK, WHOLE, ALL)]
        assert counts == sorted(counts)


def test_the_first_default_brings_strokes_of_a_moved_style_and_its_layout():
    """A style without detail adds nothing to the matched queries; a stripe of the style shows up at its place."""
    r = torch.Generator().manual_seed(0)
    content, flat = (torch.randn(1, 64, 8, generator=r) for _ in range(2))
    flat = flat.mean(1, keepdim=True).expand(1, 64, 8) + 1e-3 * flat
    striped = flat.unflatten(1, (8, 8)).clone()
    striped[:, :, 3] += 1.0
    striped = striped.flatten(1, 2)
    live = AttentionInputs(content, content, content)

    def query(style):
        stored = {"content": Feature(content, (8, 8)), "style": Feature(style, (8, 8))}
        (branch,) = FirstDefault()(live, stored, Moment(0, 20, (8, 8)))
        return branch.inputs.query - 0.6 * content  # of content and running image, which are one here

    plain, marked = (query(style).unflatten(1, (8, 8)).std(1).mean() for style in (flat, striped))
    columns = query(striped).unflatten(1, (8, 8)).mean((0, 1, 3))
    assert plain < 0.05
    assert marked < 0.5  # the stripe is the same in every row
    assert int(columns.argmax()) == 3


@pytest.mark.parametrize("budget", [QUICK, WHOLE, ALL])
def test_jobs_measure_every_row_on_all_its_pairs_once(budget, tmp_path):
    work = Stylization(Options(tmp_path, SMALL, 64, 20, "report", budget))
    _, second = work.rounds()
    measured = Counter((row.name, s, group) for some, s, group in (job.arguments for job in second) for row in some)
    wanted = {
        (row.name, s, group)
        for row, s in product(rows(), ("aligned", "misaligned"))
        for group in range(row.pairs(s, budget) // 12)
    }
    assert set(measured) == wanted
    assert set(measured.values()) == {1}


def test_jobs_reach_other_processes(tmp_path):
    work = Stylization(Options(tmp_path, SMALL, 64, 20, "report", QUICK))
    for jobs in work.rounds():
        for job, again in zip(jobs, pickle.loads(pickle.dumps(jobs)), strict=True):
            assert again.name == job.name
            assert again.do is job.do
