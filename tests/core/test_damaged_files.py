"""Whatever befalls a bank's file, it is refused by ``ValueError``: when it is loaded, or when a feature is read."""

import json
import os
import time

import pytest
import torch
from banks import record
from damage import BankFile, damaged, first_format

from magicstyle_core.bank.serialization import load_bank, save_bank

BANKS = {
    "fp16": {"storage": "cpu", "dtype": torch.float16, "every": 2},
    "int8": {"storage": "cpu", "dtype": torch.int8, "every": 3},
    "recomputed": {"storage": "recompute", "dtype": torch.float32},
    "first format": {"storage": "cpu", "dtype": torch.bfloat16, "every": 2},
}
LONGEST = 2.0  # seconds for one file; measured 0.06 for the worst, JSON nested a hundred thousand times


@pytest.fixture(scope="module", params=BANKS)
def whole(request, model, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "bank.safetensors"
    save_bank(record(model, folder=path.parent, size=(6, 5), batch=1, **BANKS[request.param]), path)
    if request.param == "first format":
        path.write_bytes(first_format(path.read_bytes()))
    read_all(path)
    return path.read_bytes()


def read_all(path):
    bank = load_bank(path)
    if not bank.recomputed:
        for step in set(bank.kept_for.values()):
            for layer in bank.layers:
                bank.store.at(step)[layer.key]


def refusal(path):
    """The message, which is a readable length; empty if nothing was noticed."""
    try:
        read_all(path)
    except ValueError as error:
        return str(error) if len(str(error)) < 700 else f"too long: {error}"
    return ""


def test_every_damaged_file_is_refused(whole, tmp_path):
    path, count, slowest = tmp_path / "damaged.safetensors", 0, 0.0
    for what, data in damaged(whole, seed=20240913):
        path.write_bytes(data)
        begin = time.monotonic()
        assert refusal(path).startswith("The bank file 'damaged.safetensors' cannot be used: "), what
        slowest = max(slowest, time.monotonic() - begin)
        count += 1
    assert count >= 200
    assert slowest < LONGEST


@pytest.mark.parametrize("whole", ["recomputed"], indirect=True)
def test_all_of_a_header_counts(whole, tmp_path):
    """No sample: a bit of every third byte of it."""
    path = tmp_path / "damaged.safetensors"
    for place in range(0, 8 + int.from_bytes(whole[:8], "little"), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 7]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="cannot be used"):
            read_all(path)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    for path, words in ((pipe, "no regular file"), (tmp_path, "no regular file"), (tmp_path / "none", "No such file")):
        with pytest.raises(ValueError, match=words):
            load_bank(path)


def test_a_newer_format_asks_for_an_update(whole, tmp_path):
    path = tmp_path / "new.safetensors"
    file = BankFile(whole)
    file.said["magicstyle_bank"] = "3"
    path.write_bytes(file.sealed())
    with pytest.raises(ValueError, match=r"bank format '3', .* reads up to 2\. Update MagicStyle"):
        load_bank(path)


def test_another_kind_of_safetensors_is_named_so(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "lora.safetensors"
    for metadata in (None, {"ss_network_module": "networks.lora"}):
        save_file({"lora_up.weight": torch.zeros(4, 4)}, path, metadata)
        with pytest.raises(ValueError, match="it is no feature bank"):
            load_bank(path)


def test_texts_of_a_file_reach_messages_as_plain_text(whole, tmp_path):
    """Whatever they are, and wherever they stand."""
    path, hostile = tmp_path / "hostile.safetensors", "<img src=x>\x1b[2J[a](http://b.c)\ud800"
    file = BankFile(whole)
    for place in (*file.said, "modelspec.thumbnail", hostile):
        for text in (hostile, json.dumps([[hostile, 1, 1]]), json.dumps({"name": hostile, "x": hostile})):
            file = BankFile(whole)
            file.said[place] = text
            path.write_bytes(file.sealed())
            message = refusal(path)
            assert not set(message) & set("<[]\x1b\ud800")
    file = BankFile(whole)
    file.header[hostile] = dict(file.header["sigmas"])
    path.write_bytes(file.sealed())
    assert "is not what its bank has there" in refusal(path)
    assert not set(refusal(path)) & set("<[]\x1b\ud800")
