"""Ways to damage a safetensors file: torn, flipped, and written by a liar."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator

NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 7, 33, 2**15, 2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63 - 1),
    *(2**63, 2**64 - 1, 2**64, 10**30, -(2**63), 0.5, -0.0, 1e308, float("nan"), float("inf")),
)
ODDITIES: tuple[Any, ...] = (
    *(None, True, False, "", "x", "8", "\x00", "ä" * 50, [], {}, [[]], [1, 2], [None], {"a": 1}),
    *([1] * 3000, [[[[[[[[1]]]]]]]], "{}{}", "{", "long" * 5000, [10**9], ["1", "2"]),
)
DTYPES = (
    *("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "U16", "U32", "U64"),
    *("F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "C64", "X9", "", "f16", 16, None, []),
)
CONFIGURATION = "ldznet"


def damage_safetensors(data: bytes, random: Random) -> tuple[str, bytes]:
    """What was done, and the damaged file."""
    name = str(random.choice(list(DAMAGES)))
    return name, DAMAGES[name](data, random)


def flip_bits(data: bytes, random: Random, first: int = 0, last: int | None = None) -> bytes:
    """One to eight bits turned, from a byte on and up to another."""
    flipped = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        place = int(random.integers(first, len(data) if last is None else last))
        flipped[place] ^= 1 << int(random.integers(8))
    return bytes(flipped)


def cut(data: bytes, random: Random) -> bytes:
    """A beginning of the file, often a short one."""
    return data[: int(len(data) * random.random() ** 3)]


def grow(data: bytes, random: Random) -> bytes:
    """More bytes at the end."""
    return data + random.bytes(int(random.integers(1, 5000)))


def overwrite(data: bytes, random: Random) -> bytes:
    """A stretch of zeros, ones or noise somewhere."""
    length = int(random.integers(1, 4096))
    start = int(random.integers(len(data)))
    fill = (bytes(length), b"\xff" * length, random.bytes(length))[int(random.integers(3))]
    return (data[:start] + fill + data[start + length :])[: len(data)]


def odd_value(random: Random) -> Any:
    """A number at the border of something, or no number at all."""
    values = NUMBERS + ODDITIES
    return values[int(random.integers(len(values)))]


def _parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header, and the values."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _joined(header: bytes, values: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + values


def _edited(edit: Callable[[dict[str, Any], Random], None]) -> Callable[[bytes, Random], bytes]:
    """A damage that changes the header as JSON."""

    def damage(data: bytes, random: Random) -> bytes:
        header, values = _parts(data)
        edit(header, random)
        return _joined(json.dumps(header).encode("utf-8", "surrogatepass"), values)

    return damage


def _some_tensor(header: dict[str, Any], random: Random) -> dict[str, Any]:
    names = [name for name in header if name != "__metadata__"]
    found: dict[str, Any] = header[str(random.choice(names))]
    return found


def _header_bits(data: bytes, random: Random) -> bytes:
    return flip_bits(data, random, 0, 8 + int.from_bytes(data[:8], "little"))


def _value_bits(data: bytes, random: Random) -> bytes:
    return flip_bits(data, random, 8 + int.from_bytes(data[:8], "little"))


def _cut_header(data: bytes, random: Random) -> bytes:
    return data[: int(random.integers(0, 8 + int.from_bytes(data[:8], "little")))]


def _header_length(data: bytes, random: Random) -> bytes:
    true = int.from_bytes(data[:8], "little")
    lengths = [0, 1, 2, true - 1, true + 1, len(data), len(data) - 8, 10**8 - 1, 10**8 + 1]
    lengths += [2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]
    return lengths[int(random.integers(len(lengths)))].to_bytes(8, "little") + data[8:]


def _other_header(data: bytes, random: Random) -> bytes:
    _, values = _parts(data)
    headers = [
        *(b"", b"{", b"{}", b"[]", b"null", b'"', b"0", b" " * 100, b"\x00" * 64, b"\xff" * 64),
        *(b'{"a":' * 100_000, b"[" * 200_000, b'{"__metadata__":' + b"[" * 50_000),
        *('{"a": 1}'.encode("utf-16"), b"\xef\xbb\xbf{}", random.bytes(300)),
    ]
    return _joined(headers[int(random.integers(len(headers)))], values)


def _dtype(header: dict[str, Any], random: Random) -> None:
    _some_tensor(header, random)["dtype"] = DTYPES[int(random.integers(len(DTYPES)))]


def _dtype_of_all(header: dict[str, Any], random: Random) -> None:
    dtype = ("BF16", "I16", "U16", "F32", "I8")[int(random.integers(5))]
    for name, tensor in header.items():
        if name != "__metadata__":
            tensor["dtype"] = dtype


def _shape(header: dict[str, Any], random: Random) -> None:
    tensor = _some_tensor(header, random)
    shape = list(tensor["shape"])
    way = int(random.integers(6))
    if way == 0:
        tensor["shape"] = odd_value(random)
    elif way == 1:
        tensor["shape"] = shape[::-1]
    elif way == 2:
        tensor["shape"] = [1] * int(random.integers(1, 2000)) + shape
    elif way == 3:  # no values, but a side that others may be made from
        tensor["shape"] = [NUMBERS[int(random.integers(15))], 0, *shape[2:]]
        tensor["data_offsets"] = [tensor["data_offsets"][0]] * 2
    else:
        shape[int(random.integers(len(shape)))] = odd_value(random)
        tensor["shape"] = shape


def _offsets(header: dict[str, Any], random: Random) -> None:
    tensor = _some_tensor(header, random)
    start, end = tensor["data_offsets"]
    choices: list[Any] = [
        *([end, start], [start, start], [start, end + 2], [start - 2, end], [0, end - start]),
        *([start + 2**40, end + 2**40], [start, 2**63], [-2, end], [start], [], [start, end, end]),
        *([odd_value(random), end], [start, odd_value(random)], odd_value(random)),
    ]
    tensor["data_offsets"] = choices[int(random.integers(len(choices)))]


def _names(header: dict[str, Any], random: Random) -> None:
    names = [name for name in header if name != "__metadata__"]
    name = str(random.choice(names))
    way = int(random.integers(5))
    if way == 0:
        del header[name]
    elif way == 1:
        header[
            ("", "x" * 100_000, f"{name}\n", "model.diffusion_model.")[int(random.integers(4))]
        ] = header.pop(name)
    elif way == 2:
        header["stray"] = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
    elif way == 3:
        for number in range(20_000):
            header[f"stray.{number}"] = {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}
    else:
        header[name], header[names[0]] = header[names[0]], header[name]


def _key_twice(data: bytes, random: Random) -> bytes:
    header, values = _parts(data)
    names = [name for name in header if name != "__metadata__"]
    name = str(random.choice(names))
    again = json.dumps({name: {**header[name], "shape": [1, 1], "dtype": "F32"}})[1:]
    return _joined(json.dumps(header)[:-1].encode() + b", " + again.encode(), values)


def _metadata(header: dict[str, Any], random: Random) -> None:
    way = int(random.integers(4))
    if way == 0:
        header.pop("__metadata__", None)
    elif way == 1:
        header["__metadata__"] = odd_value(random)
    elif way == 2:
        header.setdefault("__metadata__", {})[CONFIGURATION] = odd_value(random)
    else:
        header.setdefault("__metadata__", {})["note"] = "n" * 5_000_000


def _configuration(header: dict[str, Any], random: Random) -> None:
    """Lies about the network: sizes from which it would be built."""
    metadata = header.setdefault("__metadata__", {})
    configuration = json.loads(metadata.get(CONFIGURATION, "{}")) or {"format": 1, "unet": {}}
    for _ in range(int(random.integers(1, 3))):
        place = configuration
        if random.random() < 0.6 and isinstance(configuration.get("unet"), dict):
            place = configuration["unet"]
        key = str(random.choice([*place, "stray"]))
        old = place.get(key)
        value = odd_value(random)
        if isinstance(old, list) and random.random() < 0.7:
            value = [*old, value] if random.random() < 0.5 else [value] * len(old)
        if random.random() < 0.1:
            place.pop(key, None)
        else:
            place[key] = value
    text = json.dumps(configuration)
    if random.random() < 0.1:
        text = "[" * 100_000 + text
    metadata[CONFIGURATION] = text


def _not_numbers(data: bytes, random: Random) -> bytes:
    """Half-precision NaN and infinity among the values."""
    header, values = _parts(data)
    changed = bytearray(values)
    for _ in range(20):
        place = 2 * int(random.integers(len(values) // 2 - 1))
        changed[place : place + 2] = (b"\x00\x7e", b"\x00\x7c", b"\xff\xff")[
            int(random.integers(3))
        ]
    return _joined(json.dumps(header).encode(), bytes(changed))


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "cut off": cut,
    "cut off in the header": _cut_header,
    "grown": grow,
    "overwritten": overwrite,
    "bits flipped in the header": _header_bits,
    "bits flipped in the values": _value_bits,
    "length of the header": _header_length,
    "another header": _other_header,
    "dtype": _edited(_dtype),
    "dtype of all": _edited(_dtype_of_all),
    "shape": _edited(_shape),
    "offsets": _edited(_offsets),
    "names": _edited(_names),
    "a key twice": _key_twice,
    "metadata": _edited(_metadata),
    "configuration": _edited(_configuration),
    "not a number": _not_numbers,
}
