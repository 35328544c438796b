"""The style library's names and list: what every system can hold, whatever lies in the folder."""

import contextlib
import dataclasses
import logging
import os
import re
import time
from pathlib import Path

import pytest
from graphs import csdi, node
from in_process import Executor

import folder_paths

FOLDER = "magicstyle_banks"
DEVICES = ("CON", "nul", "Aux.txt", "COM1", "lpt9", "con .x", "COM²", "CONIN$")
UNFIT = (
    "a\\b", "a:b", "C:style", "a*b", "what?", 'a"b', "a<b", "a>b", "a|b", "x\x00", "a\nb", "a\x1b[31mb",
    "a\x7fb", "\ud800", "a\udfffb", "a\u202eb", "", ".", "..", "../style", "a/../../b", "a/../b", "./a", "/tmp/style",
    "a//b", "~/x\\y", ".style", ".git/style", "a/.b/c", "a./b", "a /b", " a", "a/ b", "style\u3000", "a\u200bb",
    *DEVICES, *(f"{name}/style" for name in DEVICES),
)  # fmt: skip
PREFIXES = (
    *UNFIT, "a/", "style.", "style ", "%date%", "%date:yyyy-MM-dd%/style", "%width%x%height%",
    "a/%Seed.value%", "x" * 300, "ü" * 101, "/".join(["a" * 50] * 6), "d/" * 500 + "x", "x" * 5000,
)  # fmt: skip
FIT = ("style", "oil/monet", "Öl/Monet 1.5", "雪/花", "100%", "50% blue, 20% red", "console/x", "a.b.c")
SPELLED = {"%year%-%month%-%day%/%hour%%minute%%second%": r"\d{4}-\d\d-\d\d/\d{6}_00001_\.safetensors"}


@pytest.fixture
def names(pack, library):
    return pack("nodes.library").names


def short(value):
    return ascii(value)[:30]


def refusal(function, *arguments):
    with pytest.raises(ValueError, match="is not allowed") as caught:
        function(*arguments)
    message = str(caught.value)
    assert len(message) < 1000
    assert message.isprintable()
    return message.encode().decode()  # what cannot be encoded ends the host's queue


NAMES = [f"{name}.safetensors" for name in UNFIT if name[-1:] not in ("", ".")]


@pytest.mark.parametrize("name", [*NAMES, "", 7, None, ["a"]], ids=short)
def test_names_that_a_system_cannot_hold_are_no_banks(pack, library, name):
    refusal(pack("nodes.library").find, name)


@pytest.mark.parametrize("prefix", [*PREFIXES, 7, None, ["a"]], ids=short)
def test_prefixes_that_a_system_cannot_hold_are_refused(pack, library, prefix):
    refusal(pack("nodes.library").new_paths, prefix, 1)
    assert os.listdir(library) == []


@pytest.mark.parametrize("prefix", [prefix for prefix in PREFIXES if prefix.isprintable()], ids=short)
def test_they_are_refused_before_anything_is_inverted(library, prefix):
    executor = Executor()
    graph = csdi() | {"save": node("MagicStyle_SaveBank", bank=["csdi", 1], filename_prefix=prefix)}
    with pytest.raises(AssertionError, match="custom_validation_failed.*is not allowed"):
        executor.run(graph)


@pytest.mark.parametrize("prefix", FIT, ids=short)
def test_what_is_saved_is_listed_and_found(pack, library, names, prefix):
    module = pack("nodes.library")
    path = next(module.new_paths(prefix, 1))
    path.write_bytes(b"x")
    assert names() == [module.name_of(path)] == [f"{prefix}_00001_.safetensors"]
    assert module.find(module.name_of(path)) == path.resolve()


def test_the_time_is_filled_in(pack, library, names):
    for prefix, pattern in SPELLED.items():
        next(pack("nodes.library").new_paths(prefix, 1)).write_bytes(b"x")
        (name,) = names()
        assert re.fullmatch(pattern, name)


def test_what_cannot_be_named_is_not_listed(library, names):
    for name in (name for name in UNFIT if not {"", ".", ".."} & set(name.split("/"))):
        path = library / f"{name}.safetensors"
        with contextlib.suppress(OSError, ValueError):
            if path.parent.resolve().is_relative_to(library):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x")
    (library / os.fsdecode(b"\xff.safetensors")).write_bytes(b"x")
    (library / "folder.safetensors").mkdir()
    os.mkfifo(library / "pipe.safetensors")
    (library / "GOOD.SafeTensors").write_bytes(b"x")
    (library / "other.txt").write_bytes(b"x")
    assert names() == ["GOOD.SafeTensors"]


@contextlib.contextmanager
def unreadable(path):
    """As for a user without rights; root may read all."""
    path.chmod(0)
    try:
        yield
    finally:
        path.chmod(0o700)


@pytest.fixture
def anyone(monkeypatch):
    """Rights count, also for root: who may not enter a folder cannot list it."""
    scandir, listdir = os.scandir, os.listdir

    def checked(function):
        def call(path):
            if os.stat(path).st_mode & 0o700 == 0:
                raise PermissionError(13, "Permission denied", path)
            return function(path)

        return call

    monkeypatch.setattr(os, "scandir", checked(scandir))
    monkeypatch.setattr(os, "listdir", checked(listdir))


def test_folders_that_cannot_be_read_are_passed_over(pack, library, names, anyone):
    (library / "good.safetensors").write_bytes(b"x")
    (library / "shut").mkdir()
    (library / "shut" / "in.safetensors").write_bytes(b"x")
    with unreadable(library / "shut"):
        assert names() == ["good.safetensors"]
        with pytest.raises(ValueError, match="cannot be saved into the library.*Permission denied"):
            pack("nodes.library").new_paths("shut/style", 1)
    with unreadable(library):
        assert names() == []


def test_links_in_circles_and_deep_folders_take_no_time(library, names):
    for name in ("one", "two"):
        (library / name).mkdir()
        (library / name / "back").symlink_to(library)
        (library / name / "self").symlink_to(library / name)
    (library / "loop.safetensors").symlink_to(library / "loop.safetensors")
    (library / "nowhere.safetensors").symlink_to(library / "nothing")
    (library / "one" / "style.safetensors").write_bytes(b"x")
    deep = library
    for _ in range(500):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "deep.safetensors").write_bytes(b"x")
    shallow = "d/" * 100 + "x.safetensors"
    (library / shallow).write_bytes(b"x")
    begin = time.perf_counter()
    assert names() == [shallow, "one/style.safetensors"]
    assert time.perf_counter() - begin < 1  # measured 0.01


def test_twenty_thousand_banks_are_listed_in_less_than_a_second(library, names):
    for number in range(20_000):
        (library / f"style_{number:05}_.safetensors").touch()
    assert len(names()) == 20_000
    begin = time.perf_counter()
    names()
    assert time.perf_counter() - begin < 1  # measured 0.15


def test_a_start_removes_what_saves_left_and_names_what_may_be_anothers(pack, library, caplog):
    module, leftovers = pack("nodes.library"), pack("magicstyle_core.bank.leftovers")
    (library / "oil").mkdir()
    files = [leftovers.create(library / place / "style.safetensors") for place in ("", "oil")]
    living, path = leftovers.create(library / "new.safetensors")
    for file, _ in files:
        file.close()
    other = library / f".style.00000000.{'0' * 32}.tmp"
    other.write_bytes(bytes(2_000_000))
    (library / ".own.tmp").write_bytes(b"x")
    with caplog.at_level(logging.INFO):
        module.tidy()
    assert sorted(os.listdir(library)) == sorted([".own.tmp", path.name, other.name, "oil"])
    assert os.listdir(library / "oil") == []
    assert all(str(removed) in caplog.text for _, removed in files)
    assert f"or that another machine is at: {other} (2.0 MB)" in caplog.text
    assert path.name not in caplog.text
    living.close()


def test_the_host_lists_nothing_else(library, names):
    """Its own list has no more than ours where nothing is odd."""
    (library / "a").mkdir()
    for name in ("x.safetensors", "a/y.safetensors", "a/z.txt"):
        (library / name).write_bytes(b"x")
    listed = [Path(name).as_posix() for name in folder_paths.get_filename_list(FOLDER)]
    assert names() == sorted(listed) == ["a/y.safetensors", "x.safetensors"]


HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) [[b|http://c.de]] **d** `e` www.f.gh"


def test_what_a_file_says_of_its_bank_is_shown_as_plain_text(pack, library, executor):
    executor.run(csdi() | {"save": node("MagicStyle_SaveBank", bank=["csdi", 1], filename_prefix="style")})
    path = library / "style_00001_.safetensors"
    bank = pack("magicstyle_core.bank.serialization").load_bank(path)
    names = {name: HOSTILE for name in ("name", "prediction", "weights", "precision", "patches")}
    bank.model = dataclasses.replace(bank.model, **names)
    bank.trajectory = dataclasses.replace(bank.trajectory, method=HOSTILE)
    hostile = library / "hostile.safetensors"
    pack("magicstyle_core.bank.serialization").save_bank(bank, hostile)
    loaded = node("MagicStyle_LoadBank", name=hostile.name)
    executor.run({"load": loaded, "info": node("MagicStyle_BankInfo", bank=["load", 0])})
    (text,) = executor.executor.history_result["outputs"]["info"]["text"]
    assert "onerror" in text
    assert not set(text) & set("<>[]*`&#|")
    assert "://" not in text
    assert "www." not in text
