"""Save Feature Bank and Load Feature Bank in the host's executor: pictures bit for bit, names, damage, the library."""

import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from graphs import FFF, csdi, ffa, full, keep, latent, model, node
from in_process import Executor

import folder_paths

FOLDER = "magicstyle_banks"
STORAGE = ("cpu", "disk", "recompute")
PRECISION = ("fp16", "fp32", "int8")


@pytest.fixture
def run(executor):
    """Without memory of other tests, whose library is empty again."""
    return executor.run


def save(prefix="style", **inputs):
    return node("MagicStyle_SaveBank", bank=["csdi", 1], filename_prefix=prefix, **inputs)


def load(name="style_00001_.safetensors"):
    return node("MagicStyle_LoadBank", name=name)


def loaded(name="style_00001_.safetensors", **csdi_changes):
    """The whole graph with a style from the library instead of the one that was just inverted."""
    graph = full(ffa_changes={"style_bank": ["load", 0]}, fff_changes={"style_bank": ["load", 0]}, **csdi_changes)
    return graph | {"load": load(name)}


def alone(name):
    return {"load": load(name), "keep": keep(["load", 0], "bank")}


def failure(run, graph):
    with pytest.raises(AssertionError) as caught:
        run(graph)
    return str(caught.value)


@pytest.mark.parametrize("precision", PRECISION)
@pytest.mark.parametrize("storage", STORAGE)
def test_a_saved_style_gives_the_same_picture(library, run, storage, precision):
    settings = {"storage": storage, "precision": precision}
    fresh = run(full(**settings) | {"save": save()})["result"]
    kept = run(loaded(**settings))["result"]
    assert torch.equal(kept["samples"], fresh["samples"])


def test_a_saved_portrait_is_sampled_without_inverting_it(library):
    graph = full()
    graph["save content"] = node("MagicStyle_SaveBank", bank=["csdi", 0], filename_prefix="portrait")
    fresh = Executor().run(graph | {"save": save()})["result"]
    banks = {"content_bank": ["portrait", 0], "style_bank": ["load", 0]}
    again = {
        "model": csdi()["model"],
        "load": load(),
        "portrait": load("portrait_00001_.safetensors"),
        "ffa": ffa(**banks),
        "fff": node("MagicStyle_FusedSampler", model=["ffa", 0], **banks, **FFF),
        "keep": keep(["fff", 0], "result"),
    }
    assert torch.equal(Executor().run(again)["result"]["samples"], fresh["samples"])


def test_names_count_up_and_go_into_subfolders(library, executor):
    executor.run(csdi() | {"save": save("oil/monet")})
    executor.run(csdi() | {"save": save("oil/monet"), "csdi": csdi(steps=3)["csdi"]})
    assert sorted(path.name for path in (library / "oil").iterdir()) == [
        "monet_00001_.safetensors", "monet_00002_.safetensors",
    ]  # fmt: skip
    assert executor.run(alone("oil/monet_00002_.safetensors"))["bank"].trajectory.steps == 3


def test_saving_shows_picture_and_name_and_loading_the_picture(library, executor):
    graph = csdi() | {"picture": node("EmptyImage", width=400, height=300, batch_size=1, color=0xFF8000)}
    executor.run(graph | {"save": save(image=["picture", 0])})
    shown = executor.executor.history_result["outputs"]["save"]
    assert shown["text"][0].startswith("Saved style_00001_.safetensors (")
    assert Path(folder_paths.get_temp_directory(), shown_path(shown)).is_file()
    graph = {**alone("style_00001_.safetensors"), "keep picture": keep(["load", 1], "picture")}
    kept = executor.run(graph)
    assert kept["picture"].shape == (1, 192, 256, 3)
    assert torch.allclose(kept["picture"].mean((0, 1, 2)), torch.tensor([1.0, 0.5, 0.0]), atol=0.02)
    assert shown_path(executor.executor.history_result["outputs"]["load"])
    executor.run({**graph, "info": node("MagicStyle_BankInfo", bank=["load", 0])})
    shown = executor.executor.history_result["outputs"]["info"]
    assert "on disk" in shown["text"][0]
    assert shown_path(shown)


def shown_path(shown):
    (image,) = shown["images"]
    assert image["type"] == "temp"
    return os.path.join(image["subfolder"], image["filename"])


def test_without_a_picture_the_thumbnail_comes_from_the_latent(library, executor):
    executor.run(csdi() | {"save": save()})
    kept = executor.run({**alone("style_00001_.safetensors"), "keep picture": keep(["load", 1], "picture")})
    assert kept["picture"].shape == (1, 16, 16, 3)
    assert kept["picture"].std() > 0.01


def test_a_file_that_vanishes_and_comes_back_works_again(library, executor):
    """And so does one that was rewritten, whatever its times say; meanwhile the message says what is wrong."""
    executor.run(full() | {"save": save()})
    path = library / "style_00001_.safetensors"
    aside, good, times = path.with_name("aside"), path.read_bytes(), path.stat()
    whole = executor.run(loaded())["result"]["samples"]
    sigma = 0  # a graph that the host has not run yet, so that it reads the file

    def again():
        nonlocal sigma
        sigma += 1
        graph = loaded()
        graph["ffa"]["inputs"]["strength"] = 1 - sigma / 1e6
        return executor.run(graph)["result"]["samples"]

    def rewritten(data):
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    path.rename(aside)
    with pytest.raises(AssertionError, match="There is no bank file"):
        again()
    aside.rename(path)
    torch.testing.assert_close(again(), whole, atol=1e-3, rtol=0)
    rewritten(good[:-1000] + bytes(1000))
    with pytest.raises(AssertionError, match="is not as it was written"):
        again()
    rewritten(good)
    torch.testing.assert_close(again(), whole, atol=1e-3, rtol=0)


def test_a_file_that_changes_is_loaded_again(library, executor):
    for seed in (2, 3):
        executor.run(csdi() | {"style": latent(seed), "save": save(f"seed{seed}")})
    path = library / "now.safetensors"
    shutil.copy(library / "seed2_00001_.safetensors", path)
    first = executor.run(alone(path.name))["bank"]
    assert executor.run(alone(path.name))["bank"] is first
    assert "load" in executor.cached()
    shutil.copy(library / "seed3_00001_.safetensors", path)
    os.utime(path, ns=(1, 1))
    second = executor.run(alone(path.name))["bank"]
    assert not torch.equal(second.trajectory.latents, first.trajectory.latents)


WRONG_NAMES = (
    "../secret.safetensors", "oil/../../secret.safetensors", "/etc/passwd", "..\\secret.safetensors",
    "a//b.safetensors",
    "C:\\x.safetensors", "C:x.safetensors", "", ".", "..", "./style_00001_.safetensors", "style\x00.safetensors",
    "x\n.safetensors", " style_00001_.safetensors", "~/x\\y", 7, None, ["a"], "x" * 5000 + "/../y.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("name", WRONG_NAMES, ids=lambda name: repr(name)[:30])
def test_names_that_lead_elsewhere_are_refused(library, host, pack, run, name):
    (host / "models" / "secret.safetensors").write_bytes(b"x")
    find = pack("nodes.library").find
    with pytest.raises(ValueError, match="is not allowed"):
        find(name)
    if isinstance(name, str):
        assert "is not allowed" in failure(run, alone(name))


@pytest.mark.parametrize("name", ["none.safetensors", "oil/none.safetensors", "style_00001_.png", "oil", "x" * 200])
def test_missing_files_are_marked_before_the_run(library, run, name):
    (library / "oil").mkdir()
    (library / "style_00001_.png").write_bytes(b"x")
    message = failure(run, alone(name))
    for word in ("There is no bank file", name[:80], str(library), "Save Feature Bank"):
        assert word in message


def test_links_out_of_the_library_are_refused(library, host, run, pack):
    run(csdi() | {"save": save()})
    outside = host / "outside"
    outside.mkdir(exist_ok=True)
    shutil.copy(library / "style_00001_.safetensors", outside / "style.safetensors")
    (library / "link.safetensors").symlink_to(outside / "style.safetensors")
    (library / "folder").symlink_to(outside)
    (library / "inner.safetensors").symlink_to(library / "style_00001_.safetensors")
    for name in ("link.safetensors", "folder/style.safetensors"):
        assert "There is no bank file" in failure(run, alone(name))
    assert run(alone("inner.safetensors"))["bank"].trajectory.steps == 4
    assert set(pack("nodes.library").names()) == {"style_00001_.safetensors", "inner.safetensors"}
    assert "leads out of the library" in failure(run, csdi() | {"save": save("folder/style")})
    assert os.listdir(outside) == ["style.safetensors"]


def test_a_library_that_is_a_link_itself_works(library, host, run):
    moved = host / "models" / "moved"
    library.rename(moved)
    try:
        library.symlink_to(moved)
        run(csdi() | {"save": save()})
        assert run(alone("style_00001_.safetensors"))["bank"].trajectory.steps == 4
    finally:
        library.unlink()
        moved.rename(library)


def test_saving_without_room_is_refused_first(library, run, pack, monkeypatch):
    usage = SimpleNamespace(free=5_000_000)
    monkeypatch.setattr(pack("nodes.library").shutil, "disk_usage", lambda folder: usage)
    message = failure(run, csdi(content={"height": 32}, style={"height": 32}) | {"save": save()})
    for word in ("Saving this bank needs", "5.0 MB", str(library), "extra_model_paths.yaml"):
        assert word in message
    assert os.listdir(library) == []


def test_cancelling_a_save_leaves_nothing(library, run, pack, monkeypatch):
    import comfy.model_management

    def cancel():
        raise comfy.model_management.InterruptProcessingException

    bank = run(csdi() | {"keep": keep(["csdi", 1], "bank")})["bank"]
    monkeypatch.setattr(comfy.model_management, "throw_exception_if_processing_interrupted", cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        pack("nodes.bank").save_bank(bank, library / "x.safetensors", on_tensor=pack("nodes.bank")._progress())
    assert os.listdir(library) == []


def test_a_bank_of_another_model_is_refused(library, run):
    run(csdi() | {"save": save()})
    graph = loaded(loader=model(v_prediction=True))
    message = failure(run, graph)
    assert "style bank was captured on SD15" in message
    assert "Invert the picture again" in message


def test_damaged_files_fail_the_prompt_and_the_next_one_works(library, run):
    """A sample; all of it is in tests/core. Whether loading or sampling notices does not matter."""
    run(full() | {"save": save()})
    good = library / "style_00001_.safetensors"
    data, bad, chance = good.read_bytes(), library / "bad.safetensors", random.Random(4)
    for _ in range(12):
        place = chance.randrange(len(data))
        bad.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        message = failure(run, loaded(bad.name))
        assert message.startswith("ValueError: The bank file 'bad.safetensors' cannot be used")
        bad.write_bytes(data[:place])
        assert "ValueError: The bank file 'bad.safetensors'" in failure(run, loaded(bad.name))
    assert torch.isfinite(run(loaded())["result"]["samples"]).all()


def test_folders_that_users_map_come_first(pack, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, FOLDER, (["/elsewhere"], set()))
    library = pack("nodes.library")
    for _ in range(2):
        library.register()
        folders, suffixes = folder_paths.folder_names_and_paths[FOLDER]
        assert folders == ["/elsewhere", os.path.join(folder_paths.models_dir, FOLDER)]
        assert suffixes == {".safetensors"}
