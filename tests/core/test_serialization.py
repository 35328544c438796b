"""Saving and loading a bank gives it back bit for bit (law 9), lazily, and leaves nothing half-written."""

import errno
import hashlib
import json
import os
from dataclasses import replace

import pytest
import torch
from denoisers import FINGERPRINT, capture, descending, gaussian, select, smooth_latent

from magicstyle_core.fusion.attention import CapturePatch, FusionPatch
from magicstyle_core.bank.bank import FeatureBank
from magicstyle_core.bank.trajectory import Trajectory
from magicstyle_core.sampling.ddim import Exact, FixedPoint, sample
from magicstyle_core.bank.features import PRECISIONS
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.layers import AttentionLayer, LayerKey
from magicstyle_core.bank.recording import CapturePlan, FeatureRecorder
from magicstyle_core.schedule import SigmaWindow, ascending
from magicstyle_core.bank.serialization import load_bank, save_bank
from magicstyle_core.bank.storage import DiskWriter, RecomputedStore, RecomputedWriter, MemoryWriter, layouts_of
from magicstyle_core.bank.tensor_file import TensorFileReader, TensorFileWriter, header_of

WINDOW = SigmaWindow(14.0, 0.1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "style.safetensors"


def record(model, storage, dtype, folder, size=(9, 7), batch=2, method=None, **plan):
    """A bank as the inversion nodes make them: trajectory in fp32, features in one of the stores."""
    plan = CapturePlan(select(model), ascending(descending(4)), dtype, **plan)
    writers = {
        "cpu": lambda _: MemoryWriter(),
        "disk": lambda _: DiskWriter(folder / "kept.safetensors", plan.layouts(batch, size)),
        "live": lambda _: RecomputedWriter(RecomputedStore(gaussian((1, 5, 16), 3).float(), gaussian((1, 4), 4).half())),
    }
    recorder = FeatureRecorder(plan, (batch,), writers[storage])
    x = smooth_latent(*size, seed=20, batch=batch)
    way = (method or Exact())(model.patched(CapturePatch(recorder)), x, plan.sigmas)
    noise = None if way.noise is None else way.noise.float()
    way = Trajectory(way.sigmas.float(), way.latents.float(), noise, way.method)
    return recorder.publish(way, FINGERPRINT)[0]


def assert_same(loaded, bank):
    """Everything but the place of the features."""
    for name in ("model", "layers", "kept_for", "precision", "bytes"):
        assert getattr(loaded, name) == getattr(bank, name)
    for name in ("sigmas", "latents", "noise"):
        mine, given = getattr(loaded.trajectory, name), getattr(bank.trajectory, name)
        assert (mine is None and given is None) or (torch.equal(mine, given) and mine.dtype == given.dtype)
    assert loaded.trajectory.method == bank.trajectory.method
    if isinstance(bank.store, RecomputedStore):
        assert torch.equal(loaded.store.context, bank.store.context)
        assert loaded.store.pooled.dtype == bank.store.pooled.dtype
        assert torch.equal(loaded.store.pooled, bank.store.pooled)
        return
    for step in set(bank.kept_for.values()):
        for layer in bank.layers:
            mine, given = loaded.stored(step, layer.key), bank.stored(step, layer.key)
            assert mine.grid == given.grid
            for a, b in zip(mine.tensors, given.tensors, strict=True):
                assert a.dtype == b.dtype
                assert torch.equal(a, b)


@pytest.mark.parametrize("storage", ["cpu", "disk", "live"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_loaded_bank_is_the_saved_one(model, path, storage, precision):
    bank = record(model, storage, PRECISIONS[precision], path.parent)
    save_bank(bank, path)
    assert_same(load_bank(path), bank)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_loaded_bank_gives_the_same_picture(model, path, precision):
    content, style = (
        record(model, "cpu", PRECISIONS[precision], path.parent, method=method) for method in (Exact(), FixedPoint())
    )
    save_bank(style, path)

    def picture(bank):
        patched = model.patched(FusionPatch(FeatureFusion(), content, bank, select(model)))
        start = content.trajectory.latents[-1].double()
        return sample(patched, start, content.trajectory.sigmas.double().flip(0))

    assert torch.equal(picture(load_bank(path)), picture(style))


@pytest.mark.parametrize(
    "plan",
    [
        {"every": 2},
        {"window": WINDOW},
        {"window": SigmaWindow(1.0, 1.0)},
        {"every": 3, "window": WINDOW},
        {"size": (1, 1), "batch": 1},
        {"method": FixedPoint(0)},
    ],
    ids=str,
)
def test_banks_with_gaps_windows_and_odd_sizes(model, path, plan):
    bank = record(model, "cpu", torch.int8, path.parent, **plan)
    save_bank(bank, path)
    assert_same(load_bank(path), bank)


def test_a_bank_without_features(model, path):
    bank = FeatureBank(record(model, "cpu", torch.float16, path.parent).trajectory, FINGERPRINT)
    save_bank(bank, path)
    assert_same(load_bank(path), bank)


def test_a_loaded_bank_is_on_disk_and_can_be_saved_again(model, path):
    bank = record(model, "cpu", torch.bfloat16, path.parent)
    save_bank(bank, path)
    loaded, second = load_bank(path), path.with_name("again.safetensors")
    assert loaded.store.storage == "disk"
    save_bank(loaded, second)
    assert second.read_bytes() == path.read_bytes()


def test_loading_reads_no_feature_and_reading_one_maps_its_step_only(model, path, monkeypatch):
    save_bank(record(model, "cpu", torch.float16, path.parent), path)
    asked = []
    get = TensorFileReader.get
    monkeypatch.setattr(TensorFileReader, "get", lambda file, *name: asked.append(name) or get(file, *name))
    loaded = load_bank(path)
    assert {name for name, *_ in asked} == {"checksums", "sigmas", "latents", "noise"}
    loaded.stored(2, loaded.layers[0].key)
    assert [name for name in asked if len(name) == 2] == [("0002.input.1.0", 2)]


def test_saving_holds_one_feature_at_a_time(model, path, monkeypatch):
    """Features are asked for one by one, each written before the next."""
    bank = record(model, "disk", torch.float16, path.parent)
    events = []
    stored, write = FeatureBank.stored, TensorFileWriter.write
    monkeypatch.setattr(FeatureBank, "stored", lambda *a: events.append("read") or stored(*a))
    monkeypatch.setattr(TensorFileWriter, "write", lambda *a: events.append("write") or write(*a))
    save_bank(bank, path)
    features = [event for event in events[3:-1]]  # after the trajectory, before the checksums
    assert features == ["read", "write"] * (4 * len(bank.layers))


def test_the_header_tells_what_the_bank_is(model, path):
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path, pack_version="1.2.3", thumbnail="data:image/jpeg;base64,AA==", image_hash="0" * 64)
    _, header = read_header(path)
    said = header["__metadata__"]
    assert (said["magicstyle_bank"], said["pack_version"], said["method"]) == ("1", "1.2.3", "exact")
    assert said["modelspec.thumbnail"].startswith("data:image/jpeg")
    assert json.loads(said["model"])["name"] == "ThinUNet"
    clean = bank.trajectory.latents[0].contiguous().numpy().tobytes()
    assert json.loads(said["hashes"]) == {"latent": hashlib.sha256(clean).hexdigest(), "image": "0" * 64}
    shown = load_bank(path, picture=lambda text: torch.full((1, 1, 3), len(text), dtype=torch.uint8)).thumbnail
    assert shown.unique().tolist() == [len(said["modelspec.thumbnail"])]


def test_a_header_of_sdxl_fits_into_what_the_host_reads_of_it():
    """The host shows thumbnails of files whose header takes a megabyte at most; a thumbnail takes up to 0.1."""
    layers = [AttentionLayer(LayerKey("output", index, depth), 1280, 2) for index in range(7) for depth in range(10)]
    slots = {}
    for place, layout in layouts_of(layers, range(1, 51), 1, (128, 128), torch.int8).items():
        slots |= layout.slots(place)
    assert len(json.dumps(header_of(slots), separators=(",", ":"))) < 900_000  # measured 659 thousand


def test_every_tensor_lies_at_a_multiple_of_its_own_width(model, path):
    bank = record(model, "cpu", torch.int8, path.parent, size=(5, 5), batch=1)
    save_bank(bank, path)
    raw, header = read_header(path)
    widths = {"F32": 4, "I8": 1, "I64": 8}
    for name, entry in header.items():
        if name != "__metadata__":
            assert (len(raw) + entry["data_offsets"][0]) % widths[entry["dtype"]] == 0


def test_nothing_is_overwritten_unless_asked(model, path):
    bank = record(model, "cpu", torch.float16, path.parent)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"cannot be saved as 'style\.safetensors': that file exists"):
        save_bank(bank, path)
    assert path.read_bytes() == b"mine"
    assert os.listdir(path.parent) == [path.name]
    save_bank(bank, path, overwrite=True)
    assert_same(load_bank(path), bank)


def test_a_file_that_appears_meanwhile_is_not_overwritten(model, path, monkeypatch):
    bank = record(model, "cpu", torch.float16, path.parent)
    close = TensorFileWriter.close
    monkeypatch.setattr(TensorFileWriter, "close", lambda *a, **k: path.write_bytes(b"theirs") and close(*a, **k))
    with pytest.raises(ValueError, match="that file exists"):
        save_bank(bank, path)
    assert path.read_bytes() == b"theirs"
    assert os.listdir(path.parent) == [path.name]


def test_a_file_system_without_links(model, path, monkeypatch):
    def no_link(*_):
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "link", no_link)
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path)
    assert_same(load_bank(path), bank)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=str)
def test_a_broken_save_leaves_nothing(model, path, monkeypatch, error):
    bank = record(model, "cpu", torch.float16, path.parent)
    write, count = TensorFileWriter.write, []

    def fail(*arguments):
        count.append(1)
        if len(count) == 9:
            raise error
        return write(*arguments)

    monkeypatch.setattr(TensorFileWriter, "write", fail)
    with pytest.raises((ValueError, KeyboardInterrupt)) as caught:
        save_bank(bank, path)
    assert "No space left on device. Make room" in str(caught.value) or isinstance(error, KeyboardInterrupt)
    assert os.listdir(path.parent) == []


def test_a_bank_that_could_not_be_loaded_is_not_saved(model, path):
    bank = record(model, "cpu", torch.float16, path.parent)
    bank.stored(2, bank.layers[1].key).values[0, 0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"tensor 0002\.input\.3\.0 holds NaN or infinite"):
        save_bank(bank, path)
    double = capture(model, smooth_latent(8, 8, 1), descending(2))[0]
    with pytest.raises(ValueError, match=r"cannot be saved.*precision"):
        save_bank(double, path)
    turned = FeatureBank(replace(bank.trajectory, sigmas=bank.trajectory.sigmas.flip(0)), FINGERPRINT)
    with pytest.raises(ValueError, match="do not rise from 0"):
        save_bank(turned, path)
    assert os.listdir(path.parent) == []


def test_a_file_that_changes_after_loading_is_noticed(model, path):
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path)
    loaded = load_bank(path)
    loaded.stored(1, bank.layers[0].key)
    save_bank(bank, path, overwrite=True)
    with pytest.raises(ValueError, match="Load the bank again"):
        loaded.stored(2, bank.layers[0].key)
    path.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        loaded.stored(3, bank.layers[0].key)
