"""A short run of ``dev.py torture`` at the shared server, from one seed, and what its counts are worth."""

import copy
import shutil

import pytest

from dev.torture import Torture

SEED = 20261128


@pytest.fixture(scope="module")
def prepared(host, tmp_path_factory):
    trial = Torture(host, SEED, tmp_path_factory.mktemp("torture") / "failed", clients=4, names=("demo", "library"))
    trial.prepare()
    yield trial
    shutil.rmtree(trial.library)


def test_hostile_clients_leave_valid_prompts_right(prepared):
    prepared.run(seconds=5)
    prepared.close()
    assert not prepared.failed(), prepared.line()
    assert prepared.counts["raw"] == 0, prepared.line()
    assert sum(prepared.counts[kind] for kind in ("files", "names", "cancels", "hostile")) >= 4
    assert not prepared.folder.exists()


def test_another_picture_than_at_the_start_is_wrong(prepared, capsys):
    prepared.references = {**prepared.references, "demo": prepared.references["library"]}
    before = copy.copy(prepared.counts)
    prepared.right("demo")
    assert (prepared.counts - before)["wrong"] == 1
    assert "MagicStyle_CSDI" in (prepared.folder / "wrong-1.json").read_text()
    assert str(prepared.folder) in capsys.readouterr().out
