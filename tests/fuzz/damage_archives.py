"""Ways to damage a pickled checkpoint: its archive, its records, and the pickle among them."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Callable

from .damage_safetensors import Random, cut, flip_bits, grow, overwrite
from .hostile_pickles import hostile_pickles

Records = dict[str, bytes]

_SETTINGS = (".format_version", ".storage_alignment")  # of how PyTorch's own writer pads


def damage_archive(data: bytes, random: Random, command: str) -> tuple[str, bytes]:
    """What was done, and the damaged file.

    Args:
        data: A checkpoint as PyTorch writes it.
        random: Chooses.
        command: What pickles with code shall run.
    """
    if random.random() < 0.25:
        programs = hostile_pickles(command)
        name = str(random.choice(list(programs)))
        return name, packed({"a/data.pkl": programs[name], "a/data/0": bytes(8), "a/version": b"3"})
    name = str(random.choice(list(DAMAGES)))
    return name, DAMAGES[name](data, random)


def _unpacked(data: bytes) -> Records:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {
            entry.filename: archive.read(entry)
            for entry in archive.infolist()
            if not entry.filename.endswith(_SETTINGS)
        }


def packed(records: Records, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these records."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


def _edited(edit: Callable[[Records, Random], None]) -> Callable[[bytes, Random], bytes]:
    """A damage that changes records and leaves their checksums right."""

    def damage(data: bytes, random: Random) -> bytes:
        records = _unpacked(data)
        edit(records, random)
        return packed(records)

    return damage


def _some(records: Records, random: Random, ending: str = "") -> str:
    return str(random.choice([name for name in records if name.endswith(ending)]))


def _pickle_of(records: Records) -> str:
    return next(name for name in records if name.endswith("/data.pkl"))


def _directory_bits(data: bytes, random: Random) -> bytes:
    return flip_bits(data, random, data.index(b"PK\x01\x02"))


def _lost(records: Records, random: Random) -> None:
    del records[_some(records, random)]


def _renamed(records: Records, random: Random) -> None:
    name = _some(records, random, ("", "data.pkl")[int(random.integers(2))])
    names = (
        name.upper(),
        "data.pkl",
        "/" + name,
        "../" + name,
        name + "/",
        "b/" + name,
        " ",
        "\x01",
    )
    records[names[int(random.integers(len(names)))]] = records.pop(name)


def _content(records: Records, random: Random) -> None:
    name = _some(records, random)
    content = records[name]
    contents = (b"", content[:-1], content + b"\x00", content * 2, bytes(len(content)))
    records[name] = contents[int(random.integers(len(contents)))]


def _swapped(records: Records, random: Random) -> None:
    one, two = _some(records, random), _some(records, random)
    records[one], records[two] = records[two], records[one]


def _settings(records: Records, random: Random) -> None:
    folder = _pickle_of(records).partition("/")[0]
    names = ("byteorder", ".format_version", ".storage_alignment", "version", "constants.pkl")
    values = (b"", b"0", b"1", b"-1", b"big", b"LITTLE", b"9" * 40, b"64", b"\xff\x00", b"3\n")
    name = names[int(random.integers(len(names)))]
    if random.random() < 0.3:
        name = name.upper()
    records[f"{folder}/{name}"] = values[int(random.integers(len(values)))]


def _pickle_bytes(records: Records, random: Random) -> None:
    name = _pickle_of(records)
    ways = (flip_bits, overwrite_few, cut)
    records[name] = ways[int(random.integers(3))](records[name], random)


def overwrite_few(data: bytes, random: Random) -> bytes:
    """Some bytes replaced by opcodes."""
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 6))):
        opcodes = b"().0123IJKLMNQRSTUVXabcdeghijopqrstu}]\x80\x81\x85\x86\x87\x88\x8a\x8b\x93\x95"
        changed[int(random.integers(len(data)))] = opcodes[int(random.integers(len(opcodes)))]
    return bytes(changed)


def _kinds(records: Records, random: Random) -> None:
    """Storages of other numbers than were stored."""
    kinds = (b"HalfStorage", b"FloatStorage", b"DoubleStorage", b"LongStorage", b"BoolStorage")
    kinds += (b"CharStorage", b"BFloat16Storage", b"ComplexFloatStorage", b"QInt8Storage")
    kinds += (b"UntypedStorage", b"NoStorage", b"Tensor")
    name = _pickle_of(records)
    kind = kinds[int(random.integers(len(kinds)))]
    count = int(random.integers(0, 2))
    records[name] = records[name].replace(b"HalfStorage", kind, count or -1)


def _counts(records: Records, random: Random) -> None:
    """Storages and tensors of other sizes than were stored: any whole number, once."""
    name = _pickle_of(records)
    places = [
        match.start() for match in re.finditer(rb"[KMJ](?=.{1,4}(tq|Q|K|\x85|\x86))", records[name])
    ]
    place = int(random.choice(places))
    width = {b"K": 1, b"M": 2, b"J": 4}[records[name][place : place + 1]]
    number = int(random.choice([0, 1, -1, 2**31 - 1, -(2**31), 2**16, 3]))
    content = records[name]
    told = b"J" + struct.pack("<i", number)
    records[name] = content[:place] + told + content[place + 1 + width :]


def _values(records: Records, random: Random) -> None:
    name = _some(records, random)
    if "/data/" in name:
        content = records[name]
        fills = (b"\x00\x7e", b"\x00\x7c", b"\x00\xfc", b"\xff\xff")
        records[name] = (fills[int(random.integers(4))] * len(content))[: len(content)]


def _twice(data: bytes, random: Random) -> bytes:
    records = _unpacked(data)
    name = _some(records, random, ("", "data.pkl")[int(random.integers(2))])
    twice = io.BytesIO(packed(records))
    with zipfile.ZipFile(twice, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr((name, name.upper())[int(random.integers(2))], b"\x80\x02}.")
    return twice.getvalue()


def _compressed(data: bytes, random: Random) -> bytes:
    """A bomb: a record that swells to a thousand times its size."""
    records = _unpacked(data)
    pickled = _pickle_of(records)
    ways = {
        "pickle": lambda: records.update({pickled: b"\x80\x02" + bytes(2**27)}),
        "record": lambda: records.update({_some(records, random): bytes(2**27)}),
        "all": lambda: None,
    }
    ways[str(random.choice(list(ways)))]()
    method = (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)[int(random.integers(2))]
    return packed(records, method)


def _directory(data: bytes, random: Random) -> bytes:
    """An entry of the directory that lies: of its size, its place, its method, its length."""
    changed = bytearray(data)
    starts = [match.start() for match in re.finditer(b"PK\x01\x02", data)]
    entry = int(random.choice(starts))
    fields = ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4))
    offset, width = fields[int(random.integers(len(fields)))]
    values = (0, 1, 8, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**32 - 2)
    value = values[int(random.integers(len(values)))] % 2 ** (8 * width)
    changed[entry + offset : entry + offset + width] = value.to_bytes(width, "little")
    return bytes(changed)


def _end(data: bytes, random: Random) -> bytes:
    """An end of the directory that lies."""
    changed = bytearray(data)
    end = data.rindex(b"PK\x05\x06")
    offset, width = ((8, 2), (10, 2), (12, 4), (16, 4), (20, 2))[int(random.integers(5))]
    changed[end + offset : end + offset + width] = random.bytes(width)
    return bytes(changed)


def _one_for_all(data: bytes, random: Random) -> bytes:
    """Every entry of the directory means the same record."""
    changed = bytearray(data)
    starts = [match.start() for match in re.finditer(b"PK\x01\x02", data)]
    one = int(random.choice(starts))
    for entry in starts:
        changed[entry + 16 : entry + 28] = data[one + 16 : one + 28]
        changed[entry + 42 : entry + 46] = data[one + 42 : one + 46]
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "cut off": cut,
    "grown": grow,
    "overwritten": overwrite,
    "bits flipped": flip_bits,
    "bits flipped in the directory": _directory_bits,
    "directory": _directory,
    "end of the directory": _end,
    "one record for all": _one_for_all,
    "a record lost": _edited(_lost),
    "a record renamed": _edited(_renamed),
    "a record's content": _edited(_content),
    "records swapped": _edited(_swapped),
    "a record twice": _twice,
    "compressed": _compressed,
    "settings": _edited(_settings),
    "bytes of the pickle": _edited(_pickle_bytes),
    "kinds of storages": _edited(_kinds),
    "counts of values": _edited(_counts),
    "not a number": _edited(_values),
}
