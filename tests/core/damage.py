"""Damaged bank files, all from one seed: ``damaged(data, seed)`` yields (what was done, bytes).

Standard library only: ``dev.py torture`` uses it too.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import struct
import zlib
from collections.abc import Iterator

NASTY_TEXTS = (
    "", "null", "[]", "{}", "NaN", "[NaN]", "1e999", "[1e999]", "-1", "true", '"x"', "[1, 2", "\x00", "9" * 5000,
    "[" * 100_000, '{"a":' * 50_000, '{"name": 1, "name": 2}', "[[1, 1], [1, 1]]", "[[0, 0]]", '[["output.6.0", 1]]',
    "[0.0]", "[0.0, 2.0, 1.0]", "[1.0, 2.0]", "[[\"output.06.0\", 4, 1]]", "0" * 100,
)  # fmt: skip
NASTY_NUMBERS = (0, -1, True, 1.5, "4", 2**31, 2**63, 10**30, None, [], {})
JSON_ENTRIES = ("model", "layers", "kept_for")
SMALL = ("sigmas", "latents", "noise", "told.context", "told.pooled", "checksums")


class BankFile:
    """A bank's file taken apart: header, and the bytes of each tensor."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[:8], "little")
        self.header = json.loads(data[8 : 8 + length])
        self.said = self.header.pop("__metadata__")
        numbers = data[8 + length :]
        self.parts = {name: numbers[slice(*entry["data_offsets"])] for name, entry in self.header.items()}

    def copy(self) -> BankFile:
        return copy.deepcopy(self)

    def text(self) -> bytes:
        text = json.dumps({"__metadata__": self.said, **self.header}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def sealed(self, text: bytes | None = None) -> bytes:
        """The file with right checksums of whatever it says and holds, as who wants to deceive would make it."""
        text = text or self.text()
        sums = [zlib.crc32(text), *(zlib.crc32(part) for name, part in self.parts.items() if name != "checksums")]
        kept = len(self.parts["checksums"]) // 8
        sums = (sums + [0] * kept)[:kept]
        parts = {**self.parts, "checksums": struct.pack(f"<{kept}q", *sums)}
        return text + b"".join(parts.values())


def first_format(data: bytes) -> bytes:
    """The same bank as it was saved in the first format, whose metadata repeated what tensors say."""
    file = BankFile(data)
    shape = file.header["latents"]["shape"]
    features = [entry["dtype"] for name, entry in file.header.items() if name[0].isdigit()]
    precisions = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "I8": "int8"}
    small = {name: file.header[name] for name in SMALL[:-1] if name in file.header}
    clean = file.parts["latents"][: len(file.parts["latents"]) // shape[0]]
    file.said |= {
        "magicstyle_bank": "1",
        "sigmas": json.dumps(struct.unpack(f"<{file.header['sigmas']['shape'][0]}f", file.parts["sigmas"])),
        "precision": "int8" if "I8" in features else precisions[features[0]] if features else "-",
        "storage": "live" if "told.context" in file.header else "stored",
        "latent": json.dumps(shape[1:]),
        "tensors": json.dumps({name: (entry["dtype"], entry["shape"]) for name, entry in small.items()}),
        "hashes": json.dumps({"latent": hashlib.sha256(clean).hexdigest()}),
    }
    return file.sealed()


def damaged(data: bytes, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    chance, whole = random.Random(seed), BankFile(data)
    yield from _cut(data, chance)
    yield from _flipped(data, chance)
    yield from _rearranged(whole, chance)
    yield from _lying(whole, chance)
    yield from _numbers(whole, chance)
    yield from _headers(whole, data)


def _cut(data: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    for end in (0, 1, 7, 8, 9, len(data) - 1, *(chance.randrange(len(data)) for _ in range(25))):
        yield f"cut at {end}", data[:end]
    for extra in (b"\x00", b"x" * 8, data):
        yield f"{len(extra)} bytes more", data + extra
    begin = chance.randrange(len(data) - 64)
    yield "a hole", data[:begin] + data[begin + 32 :]
    yield "zeros in the middle", data[:begin] + bytes(64) + data[begin + 64 :]
    yield "nothing but zeros", bytes(len(data))
    yield "noise", chance.randbytes(len(data))
    yield "shifted", data[1:] + data[:1]


def _flipped(data: bytes, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    first = 8 + int.from_bytes(data[:8], "little")
    places = [chance.randrange(8) for _ in range(10)]
    places += [chance.randrange(8, first) for _ in range(60)] + [chance.randrange(first, len(data)) for _ in range(60)]
    for place in places:
        bit = chance.randrange(8)
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        yield f"bit {bit} of byte {place} ({'header' if place < first else 'numbers'})", bytes(changed)


def _rearranged(whole: BankFile, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    names = list(whole.header)
    for name in chance.sample(names, min(6, len(names))):
        file = whole.copy()
        del file.header[name], file.parts[name]
        yield f"without {name}", file.text() + b"".join(file.parts.values())
        file = whole.copy()
        del file.header[name]
        yield f"{name} not in the header", file.sealed()
        file = whole.copy()
        file.header = {"other" if key == name else key: entry for key, entry in file.header.items()}
        yield f"{name} under another name", file.sealed()
    for one in names:
        for two in names:
            if one < two and len(whole.parts[one]) == len(whole.parts[two]) and whole.parts[one] != whole.parts[two]:
                file = whole.copy()
                file.parts[one], file.parts[two] = file.parts[two], file.parts[one]
                yield f"{one} and {two} swapped", file.text() + b"".join(file.parts.values())
                file = whole.copy()
                file.header[one], file.header[two] = file.header[two], file.header[one]
                yield f"places of {one} and {two} swapped", file.sealed()
                break
    file = whole.copy()
    end = file.header[names[-1]]["data_offsets"][1]
    file.header["extra"] = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}
    file.parts["extra"] = bytes(4)
    yield "a tensor more", file.sealed()
    file.header["extra"] = {"dtype": "F32", "shape": [0], "data_offsets": [end, end]}
    file.parts["extra"] = b""
    yield "an empty tensor more", file.sealed()


def _lying(whole: BankFile, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Types, shapes and places in the header that are not those of the numbers."""
    features = [name for name in whole.header if name not in SMALL]
    chosen = [name for name in SMALL if name in whole.header] + chance.sample(features, min(4, len(features)))
    for name in chosen:
        shape, (begin, end) = whole.header[name]["shape"], whole.header[name]["data_offsets"]
        for entry in (
            {"dtype": "F64"}, {"dtype": "U8"}, {"dtype": "F8_E4M3"}, {"dtype": "Q7"}, {"dtype": 3},
            {"shape": []}, {"shape": shape[::-1] + [1]}, {"shape": [*shape, 0]}, {"shape": [-side for side in shape]},
            {"shape": [2**62, 2**62]}, {"shape": [10**18] * 9}, {"shape": "many"},
            {"shape": [float(shape[0]), *shape[1:], 1]}, {"shape": [float(side) for side in shape]}, {"shape": None},
            {"shape": [True, *shape[1:]]}, {"shape": [1, *shape]}, {"shape": [str(side) for side in shape]},
            {"shape": [2 * shape[0], *shape[1:]]}, {"shape": [shape[0] + 1, *shape[1:]]}, {"dtype": None},
            {"dtype": []}, {"data_offsets": [float(begin), float(end)]}, {"data_offsets": [begin, str(end)]},
            {"data_offsets": None}, {"data_offsets": [begin, 2**63]}, {"data_offsets": [-8, end]},
            {"data_offsets": [end, begin - 1]},
            {"data_offsets": [begin]}, {"data_offsets": [0, 0]}, {"more": 1},
        ):  # fmt: skip
            file = whole.copy()
            file.header[name] |= entry
            yield f"{name}: {entry}", file.sealed()
    for name in chosen:
        for other in ([1, 2], None, "F32", 4, {}):
            file = whole.copy()
            file.header[name] = other
            yield f"{name} is {other}", file.sealed()
    for what, change in {"batch": (1, 0), "height": (3, 2)}.items():
        # Trajectory and prompt agree with each other, features or checksums do not with them.
        file = whole.copy()
        for name, place in zip(("latents", "noise"), change, strict=False):
            if name in file.header:
                file.header[name]["shape"][place] += 1
        yield f"a {what} that is larger", file.sealed()


def _numbers(whole: BankFile, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Numbers that no bank has, under right checksums."""
    spoilt = {"F16": b"\x00\x7e", "BF16": b"\x80\x7f", "F32": b"\x00\x00\xc0\x7f"}
    for name, entry in whole.header.items():
        if entry["dtype"] in spoilt:
            value, file = spoilt[entry["dtype"]], whole.copy()
            place = len(value) * chance.randrange(len(file.parts[name]) // len(value))
            file.parts[name] = file.parts[name][:place] + value + file.parts[name][place + len(value) :]
            yield f"NaN or infinity in {name}", file.sealed()
    file = whole.copy()
    file.parts["sigmas"] = bytes(len(file.parts["sigmas"]))
    yield "sigmas are zeros", file.sealed()


def _headers(whole: BankFile, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Headers that say something else, under right checksums."""

    def saying(**changes: str | None) -> bytes:
        file = whole.copy()
        file.said = {k: v for k, v in {**file.said, **changes}.items() if v is not None}
        return file.sealed()

    fewer = ("layers", "kept_for") if "told.context" in whole.header else ()  # such a bank could be
    for name in (*JSON_ENTRIES, "magicstyle_bank"):
        for text in NASTY_TEXTS:
            if text != whole.said[name] and (name not in fewer or text != "[]"):
                yield f"{name} is {text[:20]!r}", saying(**{name: text})
        yield f"no {name}", saying(**{name: None})
    for version in ("1" if whole.said["magicstyle_bank"] == "2" else "2", "3", "10", "1.1", "-1", " 1"):
        yield f"format {version}", saying(magicstyle_bank=version)
    for name in ("method", "pack_version"):
        yield f"endless {name}", saying(**{name: "x" * 5000})
        yield f"unprintable {name}", saying(**{name: "\x1b[2J"})
    yield "an entry more", saying(more="x")
    for name in JSON_ENTRIES:
        for what, value in _nasty(json.loads(whole.said[name])):
            if name not in fewer or what != "shorter":
                yield f"{name}: {what}", saying(**{name: json.dumps(value)})
    numbers = b"".join(whole.parts.values())
    for text in (b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 100_000, b"{" + b" " * 100,
                 b'{"__metadata__": 3}', b'{"__metadata__": {"magicstyle_bank": 2}}', b'{"a": NaN}', b"9" * 400_000,
                 b'{"__metadata__": [], "__metadata__": {}}',
                 b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'):  # fmt: skip
        yield f"a header of {text[:20]!r}", len(text).to_bytes(8, "little") + text + numbers
    for length in (2**63, 2**64 - 1, len(data) * 2, 20 << 20, 0, 1):
        yield f"a header of {length} bytes", length.to_bytes(8, "little") + data[8:]


def _nasty(value: object) -> Iterator[tuple[str, object]]:
    """``value`` with each number and text in it replaced by what cannot be there, and each list shortened."""
    if isinstance(value, list):
        for index in {0, len(value) - 1} & set(range(len(value))):
            for what, other in _nasty(value[index]):
                yield what, [*value[:index], other, *value[index + 1 :]]
        if value:
            yield "shorter", value[:-1]
            yield "longer", [*value, value[-1]]
    elif isinstance(value, dict):
        for key in value:
            for what, other in _nasty(value[key]):
                yield f"{key} {what}", {**value, key: other}
            yield f"no {key}", {k: v for k, v in value.items() if k != key}
        yield "one more", {**value, "more": 1}
    elif isinstance(value, str):
        for other in (1, None, "x\x00", "y" * 3000):
            yield f"{str(other)[:9]!r} for a text", other
    else:
        for other in NASTY_NUMBERS:
            if other != value or type(other) is not type(value):
                yield f"{other!r} for {value!r}", other
