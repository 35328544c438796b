"""One folder for several programs: no save is lost, none is damaged, and what dies leaves nothing for ever."""

import os
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from banks import record

from magicstyle_core.bank import leftovers
from magicstyle_core.bank.serialization import load_bank, save_bank
from magicstyle_core.bank.tensor_file import TensorFileWriter

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent

# Loads the bank, saves it under the next free number again and again, and reads a file of either program after each.
PROGRAM = """
import itertools, random, sys
from pathlib import Path
from magicstyle_core.bank.serialization import load_bank, save_bank
folder, saves = Path(sys.argv[1]), int(sys.argv[2])
bank = load_bank(folder / "first.safetensors")
for _ in range(saves):
    others = (folder / f"style_{n}.safetensors" for n in itertools.count(2))
    taken = save_bank(bank, folder / "style_1.safetensors", otherwise=others)
    found = load_bank(random.choice(sorted(folder.glob("style_*.safetensors"))))
    for step in set(found.kept_for.values()):
        for layer in found.layers:
            found.store.at(step)[layer.key]
print(taken)
"""
# Saves a bank that waits in the middle, with half of it written.
HANGS = """
import sys, time
from pathlib import Path
from magicstyle_core.bank.serialization import load_bank, save_bank
folder = Path(sys.argv[1])
def wait(done, total):
    if done == total // 2:
        print("half", flush=True)
        time.sleep(600)
save_bank(load_bank(folder / "first.safetensors"), folder / "style.safetensors", on_tensor=wait)
"""


def start(program, *arguments):
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def folder(model, tmp_path):
    save_bank(record(model, "cpu", torch.float16, tmp_path), tmp_path / "first.safetensors")
    return tmp_path


@pytest.mark.parametrize("saves", [25, pytest.param(200, marks=pytest.mark.slow)])
def test_two_programs_lose_no_save_and_read_whole_files(folder, saves):
    programs = [start(PROGRAM, folder, saves) for _ in range(2)]
    for program in programs:
        said, _ = program.communicate(timeout=300)
        assert program.returncode == 0, said
    first = (folder / "first.safetensors").read_bytes()
    saved = [folder / f"style_{number}.safetensors" for number in range(1, 2 * saves + 1)]
    assert sorted(os.listdir(folder)) == sorted(["first.safetensors", *(path.name for path in saved)])
    assert all(path.read_bytes() == first for path in saved)


def test_without_links_a_name_that_is_taken_is_passed_over_too(folder, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "not permitted")))
    bank, names = load_bank(folder / "first.safetensors"), (folder / f"x{n}.safetensors" for n in count(2))
    (folder / "x1.safetensors").write_bytes(b"theirs")
    (folder / "x2.safetensors").write_bytes(b"theirs")
    assert save_bank(bank, folder / "x1.safetensors", otherwise=names).name == "x3.safetensors"
    assert (folder / "x2.safetensors").read_bytes() == b"theirs"
    assert sorted(os.listdir(folder)) == ["first.safetensors", *(f"x{n}.safetensors" for n in (1, 2, 3))]


def test_an_answer_that_was_lost_is_no_name_that_is_taken(folder, monkeypatch):
    """A file server may make the link and answer the repeated request that it exists."""
    link = os.link

    def twice(*paths):
        link(*paths)
        link(*paths)

    monkeypatch.setattr(os, "link", twice)
    bank = load_bank(folder / "first.safetensors")
    save_bank(bank, folder / "style.safetensors")
    assert sorted(os.listdir(folder)) == ["first.safetensors", "style.safetensors"]


def hidden(folder):
    return [folder / name for name in os.listdir(folder) if leftovers.is_hidden(name)]


def test_what_a_killed_program_left_is_removed_and_what_a_living_one_writes_is_not(folder):
    program = start(HANGS, folder)
    try:
        assert program.stdout.readline() == "half\n"
        (path,) = hidden(folder)
        assert leftovers.remove(path) == "in use"
        os.utime(path, (0, 0))  # of whatever age
        assert leftovers.remove(path) == "in use"
        assert path.exists()
        os.utime(path)  # and at once, when its writer is dead
    finally:
        program.send_signal(signal.SIGKILL)
        program.communicate()
    assert leftovers.remove(path) == "removed"
    assert os.listdir(folder) == ["first.safetensors"]


def test_what_another_machine_left_is_kept_for_a_day(folder):
    ours, path = leftovers.create(folder / "style.safetensors")
    ours.close()
    machine = path.name.split(".")[-3]
    for name in (path.name.replace(machine, "0" * 8), path.name.replace(f".{machine}", "")):
        other = folder / name
        other.write_bytes(b"x")
        assert leftovers.is_hidden(name)
        assert leftovers.remove(other) == "kept"
        os.utime(other, (time.time() - 90_000,) * 2)
        assert leftovers.remove(other) == "removed"
    assert leftovers.remove(folder / "gone.tmp") == "removed"


def test_a_file_system_without_locks_keeps_what_is_young(folder, monkeypatch):
    def no_lock(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(leftovers.fcntl, "flock", no_lock)
    file, path = leftovers.create(folder / "style.safetensors")
    file.close()
    assert leftovers.remove(path) == "kept"
    os.utime(path, (0, 0))
    assert leftovers.remove(path) == "removed"


def test_a_writer_whose_file_is_removed_at_once_makes_another(folder, monkeypatch):
    flock, made = leftovers.fcntl.flock, []

    def late(file, how):
        if not made:
            (made_now,) = hidden(folder)
            made.append(made_now)
            made_now.unlink()
        return flock(file, how)

    monkeypatch.setattr(leftovers.fcntl, "flock", late)
    file, path = leftovers.create(folder / "style.safetensors")
    assert path.exists()
    assert path != made[0]
    file.close()


@pytest.mark.parametrize("name", ["style.safetensors", ".style.tmp", ".git", ".x.0123.tmp", "x.tmp"])
def test_other_peoples_files_are_not_ours_to_remove(name):
    assert not leftovers.is_hidden(name)


def test_no_writer_leaves_its_file_when_it_cannot_be_made(tmp_path):
    with pytest.raises(OSError, match="File name too long"):
        TensorFileWriter(tmp_path / ("x" * 300), {})
    assert os.listdir(tmp_path) == []
