"""The style library on a real server: the two workflows, previews of files, refusals, damage; the host lives on."""

import io
import json
import shutil

import live_host
import pytest
from live_host import only, small, twin
from PIL import Image

from dev.client import PromptFailedError, PromptRefusedError

SILENCE = 240
NAME = "woodcut_00001_.safetensors"  # saved when the shared server starts


@pytest.fixture
def folder(host):
    return host.base / "models" / "magicstyle_banks"


@pytest.fixture
def batch():
    return small(twin("batch_portraits"))


def load(name):
    return {
        "1": {"class_type": "MagicStyle_LoadBank", "inputs": {"name": name}},
        "2": {"class_type": "MagicStyle_BankInfo", "inputs": {"bank": ["1", 0]}},
    }


def test_a_saved_style_stylizes_a_batch_of_portraits_in_one_run(host, batch):
    run = host.client.run(batch, timeout=SILENCE)
    pictures = host.client.images(run, only(batch, "SaveImage"))
    assert len(pictures) == 2
    assert pictures[0] != pictures[1]
    shown = host.client.images(run, only(batch, "MagicStyle_LoadBank"))
    with Image.open(io.BytesIO(shown[0])) as thumbnail:
        assert thumbnail.size == (64, 64)


def test_saving_again_counts_up_and_the_list_has_both(host, folder):
    prompt = small(twin("style_library"))
    prompt[only(prompt, "MagicStyle_SaveBank")]["inputs"]["filename_prefix"] = "server/again"
    for count in (1, 2):
        prompt[only(prompt, "MagicStyle_Invert")]["inputs"]["keep_every"] = count
        run = host.client.run(prompt, timeout=SILENCE)
        (text,) = run.outputs[only(prompt, "MagicStyle_SaveBank")]["text"]
        assert text.startswith(f"Saved server/again_0000{count}_.safetensors (")
    entry = host.client.get("/object_info/MagicStyle_LoadBank")["MagicStyle_LoadBank"]
    options = entry["input"]["required"]["name"]
    offered = options[1]["options"] if isinstance(options[0], str) else options[0]
    assert {NAME, "server/again_00001_.safetensors", "server/again_00002_.safetensors"} <= set(offered)


def test_the_models_page_sees_the_thumbnail(host):
    said = host.client.get("/view_metadata/magicstyle_banks", filename=NAME)
    assert said["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    assert said["magicstyle_bank"] == "2"
    assert any(entry["name"] == "magicstyle_banks" for entry in host.client.get("/experiment/models"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../secret.safetensors", "is not allowed"),
        ("/etc/passwd", "is not allowed"),
        ("..\\secret.safetensors", "is not allowed"),
        ("none.safetensors", "There is no bank file 'none.safetensors'"),
    ],
)
def test_names_are_refused_before_the_run(host, name, words):
    with pytest.raises(PromptRefusedError) as refusal:
        host.client.submit(load(name))
    assert refusal.value.status == 400
    assert list(refusal.value.node_errors) == ["1"]
    assert words in str(refusal.value)


def damage(data):
    middle = len(data) // 2
    yield "cut.safetensors", data[:middle], "1"
    yield "header.safetensors", data.replace(b'"exact"', b'"EXACT"', 1).replace(b"exact", b"eXact", 1), "1"
    yield "empty.safetensors", b"", "1"
    yield "garbage.safetensors", b"\xff" * 1000, "1"
    # A feature is read when it is needed: the run fails in the sampler, or the node that saves again.
    yield "number.safetensors", data[:-9] + bytes([data[-9] ^ 64]) + data[-8:], None


def test_damaged_files_fail_in_words_and_the_host_goes_on(host, folder, batch):
    good = (folder / NAME).read_bytes()
    for name, data, node in damage(good):
        (folder / name).write_bytes(data)
        batch[only(batch, "MagicStyle_LoadBank")]["inputs"]["name"] = name
        prompt = load(name) if node else batch
        with pytest.raises(PromptFailedError, match=f"The bank file '{name}' cannot be used") as failure:
            host.client.run(prompt, timeout=SILENCE)
        assert failure.value.data["exception_type"] == "ValueError"
        (folder / name).unlink()
    run = host.client.run(load(NAME), timeout=SILENCE)
    assert "on disk" in run.outputs["2"]["text"][0]


def test_a_folder_that_the_user_maps_is_used(tmp_path):
    mapped = tmp_path / "my banks"
    mapped.mkdir()
    paths = tmp_path / "paths.yaml"
    paths.write_text(f"mine:\n  magicstyle_banks: {json.dumps(str(mapped))}\n")
    with live_host.launch("--extra-model-paths-config", str(paths)) as host:
        host.client.run(small(twin("style_library")), timeout=SILENCE)
        assert [path.name for path in mapped.iterdir()] == [NAME]
        (mapped / "note.txt").write_text("no bank")
        (host.base / "models" / "magicstyle_banks").mkdir(exist_ok=True)
        shutil.copy(mapped / NAME, host.base / "models" / "magicstyle_banks" / "other.safetensors")
        for name in (NAME, "other.safetensors"):
            assert "on disk" in host.client.run(load(name), timeout=SILENCE).outputs["2"]["text"][0]
