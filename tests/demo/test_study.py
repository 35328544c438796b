"""A study of the quality benchmark keeps no more in memory than it needs, and no rows of other weights."""

import weakref
from dataclasses import replace

import numpy as np
import torch
from truth.methods import Row, Setting
from truth.pairs import Pair
from truth.study import Study

from demo.codec import PatchCodec
from demo.network import SMALL, Network
from demo.render.styles import KINDS


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


def test_a_study_holds_the_banks_of_one_set_of_references(tmp_path):
    """One bank of contents and one for each group's references, inverted once; recoloured contents go at once."""
    network, gray = BanksOnly(), np.random.default_rng(0).random((8, 8, 3), np.float32)
    study = Study(network, [Pair(i % 12, KINDS[0], gray, gray, gray, gray) for i in range(36)], None, tmp_path)
    for references in ("aligned", "misaligned"):
        for _ in range(2):
            study.images(Row("plain", Setting()), references)
        study.images(Row("recoloured", Setting(recolor=True)), references)
        assert len(network.banks) == 1 + 3
    assert network.inversions == 1 + 2 * (3 + 3)


def test_rows_of_another_decoder_are_measured_anew(tmp_path):
    network, gray = Network.load(SMALL), np.zeros((8, 8, 3), np.float32)
    codec = network.codec
    plain = replace(network, codec=PatchCodec.plain(codec.mean, codec.basis, codec.scale))
    pairs, row = [Pair(0, KINDS[0], gray, gray, gray, gray)], Row("plain", Setting())
    names = [Study(n, pairs, None, tmp_path)._fingerprint(row, "aligned") for n in (network, network, plain)]
    assert names[0] == names[1] != names[2]
