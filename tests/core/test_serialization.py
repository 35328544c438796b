"""Saving and loading a bank gives it back bit for bit (law 9), lazily, and leaves nothing half-written."""

import errno
import json
import mmap
import os
import shutil
from dataclasses import replace

import pytest
import torch
from banks import record
from damage import first_format
from denoisers import FINGERPRINT, capture, descending, fusion, smooth_latent
from safetensors.torch import load_file

from magicstyle_core.bank import tensor_file
from magicstyle_core.bank.bank import FeatureBank
from magicstyle_core.bank.features import PRECISIONS
from magicstyle_core.bank.serialization import load_bank, save_bank
from magicstyle_core.bank.storage import FileStore, RecomputedStore, layouts_of
from magicstyle_core.bank.tensor_file import TensorFileReader, TensorFileWriter, header_of
from magicstyle_core.fusion.ffa import FeatureFusion
from magicstyle_core.layers import AttentionLayer, LayerKey
from magicstyle_core.sampling.ddim import Exact, FixedPoint, sample
from magicstyle_core.schedule import SigmaWindow

WINDOW = SigmaWindow(14.0, 0.1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "style.safetensors"


def read_header(path):
    """The header's bytes, and what it says."""
    file = TensorFileReader(path)
    return file.header, file.entries, file.metadata


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
            mine, given = loaded.store.at(step)[layer.key], bank.store.at(step)[layer.key]
            assert mine.grid == given.grid
            for a, b in zip(mine.tensors, given.tensors, strict=True):
                assert a.dtype == b.dtype
                assert torch.equal(a, b)


@pytest.mark.parametrize("storage", ["cpu", "disk", "recompute"])
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
        patched = model.patched(fusion(model, FeatureFusion(), content, bank))
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
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path)
    loaded, second = load_bank(path), path.with_name("again.safetensors")
    assert loaded.store.storage == "disk"
    save_bank(loaded, second)
    assert second.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("storage", "dtype"),
    [
        ("cpu", torch.float16),
        ("cpu", torch.bfloat16),
        ("cpu", torch.float32),
        ("cpu", torch.int8),
        ("recompute", torch.float16),
        ("none", None),
    ],
)
def test_a_file_of_the_first_format_still_loads(model, path, storage, dtype):
    """It says of its tensors what they say themselves, and could keep features in bfloat16."""
    if storage == "none":
        bank = FeatureBank(record(model, "cpu", torch.float16, path.parent, batch=1).trajectory, FINGERPRINT)
    else:
        bank = record(model, storage, dtype, path.parent, batch=1)
    save_bank(bank, path)
    first = first_format(path.read_bytes())
    path.write_bytes(first)
    loaded, again = load_bank(path), path.with_name("again.safetensors")
    assert_same(loaded, bank)
    save_bank(loaded, again)
    assert_same(load_bank(again), bank)
    assert len(again.read_bytes()) < len(first)


def test_loading_reads_no_feature_and_reading_one_reads_only_that(model, path, monkeypatch):
    save_bank(record(model, "cpu", torch.float16, path.parent), path)
    asked = []
    get = TensorFileReader.get
    monkeypatch.setattr(TensorFileReader, "get", lambda file, name, *sums: asked.append(name) or get(file, name, *sums))
    loaded = load_bank(path)
    assert sorted(asked) == ["checksums", "latents", "noise", "sigmas"]
    loaded.store.at(2)[loaded.layers[0].key]
    assert asked[4:] == ["0002.input.1.0"]


def test_saving_holds_one_feature_at_a_time(model, path, monkeypatch):
    """Features are asked for one by one, each written before the next."""
    bank = record(model, "disk", torch.float16, path.parent)
    events = []
    read, write = FileStore.read, TensorFileWriter.write
    monkeypatch.setattr(FileStore, "read", lambda *a: events.append("read") or read(*a))
    monkeypatch.setattr(TensorFileWriter, "write", lambda *a: events.append("write") or write(*a))
    save_bank(bank, path)
    features = [event for event in events[3:-1]]  # after the trajectory, before the checksums
    assert features == ["read", "write"] * (4 * len(bank.layers))


def test_the_header_tells_what_the_bank_is(model, path):
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path, pack_version="1.2.3", thumbnail="data:image/jpeg;base64,AA==")
    _, _, said = read_header(path)
    assert (said["magicstyle_bank"], said["pack_version"], said["method"]) == ("2", "1.2.3", "exact")
    assert said["modelspec.thumbnail"].startswith("data:image/jpeg")
    assert json.loads(said["model"])["name"] == "ThinUNet"
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
    raw, entries, _ = read_header(path)
    widths = {"F32": 4, "I8": 1, "I64": 8}
    for entry in entries.values():
        assert (len(raw) + entry["data_offsets"][0]) % widths[entry["dtype"]] == 0


def test_the_safetensors_library_reads_the_same(model, path):
    bank = record(model, "cpu", torch.int8, path.parent)
    save_bank(bank, path)
    theirs, ours = load_file(path), TensorFileReader(path)
    assert set(theirs) == set(ours.entries)
    for name, tensor in theirs.items():
        assert torch.equal(ours.get(name), tensor)


def test_nothing_is_overwritten(model, path):
    bank = record(model, "cpu", torch.float16, path.parent)
    path.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"cannot be saved as 'style\.safetensors': that file exists"):
        save_bank(bank, path)
    assert path.read_bytes() == b"mine"
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_appears_meanwhile_is_not_overwritten(model, path, monkeypatch):
    bank = record(model, "cpu", torch.float16, path.parent)
    sync = TensorFileWriter.sync
    monkeypatch.setattr(TensorFileWriter, "sync", lambda writer: path.write_bytes(b"theirs") and sync(writer))
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
    bank.store.at(2)[bank.layers[1].key].values[0, 0, 0] = float("inf")
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
    loaded, key = load_bank(path), bank.layers[0].key
    loaded.store.at(1)[key]
    path.unlink()
    with pytest.raises(ValueError, match=r"'style\.safetensors' cannot be used: .* cannot be read: No such file"):
        loaded.store.at(3)[key]
    save_bank(bank, path)
    for step in (1, 2):
        with pytest.raises(ValueError, match=r"changed or replaced meanwhile\. Choose another file, put"):
            loaded.store.at(step)[key]


@pytest.mark.parametrize("rest", [0, 100, 0.5, 0.99])
def test_a_file_that_is_truncated_while_in_use_is_an_error_and_no_crash(model, path, rest):
    """Another process may shorten a file in place: a memory map of it would take the whole program along."""
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path)
    loaded, whole = load_bank(path), path.stat().st_size
    assert_same(loaded, bank)
    os.truncate(path, int(rest * whole) if rest < 1 else rest)
    for step in (1, 4):
        for layer in bank.layers:
            with pytest.raises(ValueError, match="cannot be used"):
                loaded.store.at(step)[layer.key]


def test_a_file_that_is_truncated_between_looking_and_reading_is_an_error_too(model, path, monkeypatch):
    """The size is asked for when it is opened; it may change before the last byte is read."""
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path)
    loaded, key = load_bank(path), bank.layers[-1].key
    identity = tensor_file._identity

    def then_truncated(file):
        found = identity(file)
        os.truncate(path, 5000)
        return found

    monkeypatch.setattr(tensor_file, "_identity", then_truncated)
    with pytest.raises(ValueError, match=r"was shortened while it was read\. Choose another file"):
        loaded.store.at(4)[key]


@pytest.mark.parametrize("how", ["write", "map"])
def test_a_file_that_is_changed_in_place_is_noticed_whatever_its_times_say(model, path, how):
    """Between two readings of the same feature, and back again."""
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path)
    loaded, key, data, times = load_bank(path), bank.layers[0].key, path.read_bytes(), path.stat()
    begin = len(TensorFileReader(path).header) + TensorFileReader(path).entries[f"0002.{key}"]["data_offsets"][0]

    def put(byte):
        with path.open("r+b") as file:
            if how == "map":
                with mmap.mmap(file.fileno(), 0) as numbers:
                    numbers[begin] = byte
            else:
                file.seek(begin)
                file.write(bytes([byte]))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    first = loaded.store.at(2)[key].values
    put(data[begin] ^ 1)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"tensor 0002\.input\.1\.0 is not as it was written"):
            loaded.store.at(2)[key]
    loaded.store.at(3)[key]
    put(data[begin])
    assert torch.equal(loaded.store.at(2)[key].values, first)


@pytest.mark.parametrize("how", ["renamed", "linked", "rights", "copied"])
def test_a_file_that_goes_and_comes_back_is_read_on(model, path, how):
    bank = record(model, "cpu", torch.float16, path.parent)
    save_bank(bank, path)
    loaded, aside = load_bank(path), path.with_name("aside")
    if how == "rights":
        path.chmod(0o600)
    elif how == "linked":
        os.link(path, aside)
    else:
        path.rename(aside)
        with pytest.raises(ValueError, match=r"No such file or directory\. Choose another file, put this one back"):
            loaded.store.at(2)[bank.layers[0].key]
        aside.rename(path) if how == "renamed" else shutil.copy2(aside, path)
    assert_same(loaded, bank)
