"""Where banks are kept makes no difference to the picture, and every place is cleaned up."""

import gc

import pytest
import torch
from graphs import INVERSION, MATCHED, csdi, ffa, fff, full, keep, latent, node
from in_process import Executor

import comfy.model_base
import comfy.model_management

STORED = ["auto", "cpu", "gpu", "disk"]


@pytest.fixture
def files(host):
    """Files of banks that were not there when the test began: tests before may have left some that are in use."""
    found = lambda: set((host / "temp").glob("magicstyle_*"))  # noqa: E731
    before = found()
    return lambda: found() - before


def result(**changes):
    graph = full(**changes)
    del graph["plain"], graph["keep plain"]
    return Executor().run(graph)["result"]["samples"]


@pytest.fixture(scope="module")
def picture(host):
    return result()


@pytest.mark.parametrize("storage", STORED)
def test_every_place_gives_the_same_picture(picture, storage):
    assert torch.equal(result(storage=storage), picture)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("storage", ["cpu", "disk"])
def test_small_numbers_change_the_picture_a_little(picture, storage, precision):
    error = float((result(storage=storage, precision=precision) - picture).norm() / picture.norm())
    assert 0 < error < {"fp16": 1e-4, "int8": 3e-3}[precision]  # measured 1.4e-5, 4.2e-4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ffa_changes": MATCHED},
        {"fff_changes": {"cfg": 3.0}},
        {"content": {"batch": 3}},
        {"style": {"height": 24, "width": 8}},
        {"ffa_changes": {"strength": 0.5, "start_percent": 0.3}},
    ],
    ids=["default", "matched", "cfg 3", "three portraits", "style of another size", "strength and window"],
)
def test_recomputing_gives_the_picture_of_a_stored_bank(host, changes):
    stored, again = result(**changes), result(**changes, storage="recompute")
    assert float((again - stored).norm() / stored.norm()) < 1e-5


def test_recomputed_banks_share_a_run_with_stored_ones(picture):
    """A style that is kept beside a portrait that is not."""
    graph = full(storage="recompute") | {
        "alone": node("MagicStyle_Invert", model=["model", 0], latent=["style", 0], **INVERSION)
    }
    for user in ("ffa", "fff"):
        graph[user]["inputs"]["style_bank"] = ["alone", 0]
    mixed = Executor().run(graph)["result"]["samples"]
    assert float((mixed - picture).norm() / picture.norm()) < 1e-5


def test_recomputed_banks_are_told_what_they_were_told_at_inversion(host):
    def graph(storage):
        made = full(storage=storage, end_percent=1.0) | {"told": node("TestPrompt", seed=8, tokens=77, width=64)}
        made["csdi"]["inputs"]["conditioning"] = ["told", 0]
        return Executor().run(made)["result"]["samples"]

    stored, again = graph("cpu"), graph("recompute")
    assert float((again - stored).norm() / stored.norm()) < 1e-5
    untold = result(storage="recompute", end_percent=1.0)
    assert float((again - untold).norm() / untold.norm()) > 1e-4


def test_a_recomputed_bank_refuses_more_than_a_prompt(host):
    graph = csdi(storage="recompute") | {
        "told": node("TestPrompt", seed=8, tokens=77, width=64),
        "two": node("ConditioningCombine", conditioning_1=["told", 0], conditioning_2=["told", 0]),
        "keep": keep(["csdi", 0], "bank"),
    }
    graph["csdi"]["inputs"]["conditioning"] = ["two", 0]
    with pytest.raises(AssertionError, match="2 prompts; inversion takes one prompt"):
        Executor().run(graph)


class Evaluations:
    """Counts evaluations of the network and the images in them."""

    def __init__(self, monkeypatch):
        self.batches = []
        original = comfy.model_base.BaseModel.apply_model

        def apply_model(model, x, *args, **kwargs):
            self.batches.append(len(x))
            return original(model, x, *args, **kwargs)

        monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", apply_model)

    def take(self):
        seen, self.batches = self.batches, []
        return seen


def test_what_a_picture_costs_in_evaluations(host, monkeypatch):
    """N = 4: 3N + 2 images from scratch, 2N + 1 with the style at hand, N to turn beta; recomputed 3N back."""
    count, executor = Evaluations(monkeypatch), Executor()
    style = {
        "model": node("TestModel", layout="SD15", seed=0, v_prediction=False),
        "style": latent(2),
        "style bank": node("MagicStyle_Invert", model=["model", 0], latent=["style", 0], **INVERSION),
    }

    def portrait(seed, beta):
        bank = {"content_bank": ["bank", 0], "style_bank": ["style bank", 0]}
        return style | {
            "content": latent(seed),
            "bank": node("MagicStyle_Invert", model=["model", 0], latent=["content", 0], **INVERSION),
            "ffa": ffa(**bank, beta=beta),
            "fff": fff("ffa", **bank),
            "keep": keep(["fff", 0], "result"),
        }

    executor.run(full())
    assert sum(count.take()) == 3 * 4 + 2 + 4  # and 4 without style
    fresh = Executor()
    fresh.run(portrait(1, 0.2))
    assert sum(count.take()) == 3 * 4 + 2
    fresh.run(portrait(3, 0.2))
    assert sum(count.take()) == 2 * 4 + 1
    fresh.run(portrait(3, 0.5))
    assert sum(count.take()) == 4
    again = csdi(storage="recompute", end_percent=1.0) | {
        "ffa": ffa(),
        "fff": fff("ffa"),
        "keep": keep(["fff", 0], "x"),
    }
    Executor().run(again)
    batches = count.take()
    assert sum(batches) == 2 * (4 + 1) + 3 * 4
    assert batches[-2:] == [2, 1]  # both pictures in one evaluation, then the running one


def test_files_go_when_nothing_needs_them(files):
    executor = Executor()
    executor.run(full(storage="disk"))
    assert len(files()) == 2
    executor.run({"model": csdi()["model"], "keep": keep(["model", 0], "x")})
    del executor
    gc.collect()
    assert not files()


@pytest.mark.parametrize("evaluations", [1, 3, 7], ids=["first", "inversion", "sampling"])
def test_a_cancelled_run_leaves_no_file(files, monkeypatch, evaluations):
    left = evaluations
    original = comfy.model_base.BaseModel.apply_model

    def apply_model(model, *args, **kwargs):
        nonlocal left
        left -= 1
        if left == 0:
            comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()
        return original(model, *args, **kwargs)

    executor = Executor()
    with monkeypatch.context() as patch:
        patch.setattr(comfy.model_base.BaseModel, "apply_model", apply_model)
        with pytest.raises(AssertionError, match="interrupted"):
            executor.run(full(storage="disk"))
    del executor
    gc.collect()
    assert not files()


def test_no_room_is_refused_before_anything_is_kept(host, monkeypatch):
    count = Evaluations(monkeypatch)
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device=None, torch_free_too=False: 100_000)
    with pytest.raises(AssertionError) as error:
        Executor().run(full(storage="cpu"))
    message = str(error.value)
    settings = ("precision int8 (", "keep_every 3 (", "layers 'output.", "storage recompute")
    for part in ("needs 0.9 MB", "0.1 MB (RAM)", *settings):
        assert part in message
    assert count.take() == []


def test_no_room_on_disk_is_refused(files, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(AssertionError, match=r"needs .* 0\.0 MB \(disk\)"):
        Executor().run(full(storage="disk"))
    assert not files()


def test_a_content_that_nothing_reads_need_not_be_kept(host):
    live = {"queries": "live", "beta": 1.0}
    whole = Executor().run(full(ffa_changes=live) | {"bank": keep(["csdi", 0], "bank")})
    partly = Executor().run(full(ffa_changes=live, keep_content=False) | {"bank": keep(["csdi", 0], "bank")})
    assert torch.equal(whole["result"]["samples"], partly["result"]["samples"])
    assert partly["bank"].store.bytes == 0 < whole["bank"].store.bytes
    with pytest.raises(AssertionError, match=r"content bank keeps no features.*keep_content"):
        Executor().run(full(keep_content=False))


class FakeTransfer:
    """Stands in for copies to a graphics card."""

    def __init__(self, device):
        pass

    def start(self, features):
        return dict(features)

    def finish(self, started):
        return started


@pytest.fixture
def fetching(pack, monkeypatch):
    """Runs fetch features ahead, as they do with CUDA; the prefetchers made."""
    running = pack("nodes.host.running")
    made = []
    original = running.Run.__init__

    def init(run, patches, sigmas, device, size):
        original(run, patches, sigmas, device, size)
        if patches:
            run._prefetcher = running.Prefetcher(patches, sigmas, FakeTransfer(device))
            made.append(run._prefetcher)

    monkeypatch.setattr(running.Run, "__init__", init)
    return made


def test_fetched_features_give_the_same_picture_and_are_dropped(picture, fetching):
    assert torch.equal(result(), picture)
    (prefetcher,) = fetching
    assert not prefetcher._here
    assert not prefetcher._started


def test_out_of_memory_is_tried_once_more_without_fetched_features(picture, fetching, pack, monkeypatch):
    failures = []

    class OutOfMemoryError(Exception):
        pass

    monkeypatch.setattr(comfy.model_management, "OOM_EXCEPTION", OutOfMemoryError)
    original = comfy.model_base.BaseModel.apply_model

    def apply_model(model, *args, transformer_options=None, **kwargs):
        if fetching and fetching[0]._here and len(failures) < limit:
            failures.append(len(fetching[0]._started))
            raise OutOfMemoryError("out of memory")
        return original(model, *args, transformer_options=transformer_options, **kwargs)

    monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", apply_model)
    limit = 1
    assert torch.equal(result(), picture)
    assert len(failures) == 1
    assert not fetching[0]._here


def test_out_of_memory_without_fetched_features_is_the_hosts_own_error(host, monkeypatch):
    class OutOfMemoryError(Exception):
        pass

    monkeypatch.setattr(comfy.model_management, "OOM_EXCEPTION", OutOfMemoryError)

    def apply_model(model, *args, **kwargs):
        raise OutOfMemoryError("out of memory")

    monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", apply_model)
    with pytest.raises(AssertionError, match=r"OutOfMemoryError: out of memory|out of memory"):
        Executor().run(full())


def test_pinned_memory_is_given_back(pack, monkeypatch):
    memory = pack("nodes.host.memory")
    pinned = {}
    host = comfy.model_management
    monkeypatch.setattr(host, "pin_memory", lambda memory: pinned.setdefault(memory.data_ptr(), True), raising=False)
    monkeypatch.setattr(host, "unpin_memory", lambda memory: pinned.pop(memory.data_ptr()), raising=False)
    allocate = memory.PinnedMemory()
    large, small = allocate((1024, 1024), torch.float16), allocate((8,), torch.float16)
    assert list(pinned) == [large.data_ptr()]
    assert small.shape == (8,)
    del allocate, large
    gc.collect()
    assert not pinned
