"""What a pickle would do, judged by its opcodes before anything is built from it.

PyTorch's own loader (``weights_only=True``) calls nothing but a list of harmless functions. Some of
these can still fill the memory, such as ``bytearray(10**12)``, or one long list that is copied a
million times. Here is a shorter list, of what checkpoints need, and a limit to the work.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable

LARGEST_PICKLE = 2**21
"""Bytes; the authors' 2677 tensors and a trainer's state around them take a third of it."""

_ALLOWED = re.compile(
    r"collections OrderedDict|(builtins|__builtin__) set|_codecs encode"
    r"|numpy dtype|numpy\._?core\.multiarray scalar"
    r"|torch (Size|device|bool|(bfloat|float|complex|u?int)\d+|[A-Z]\w*Storage)"
    r"|torch\.storage (Typed|Untyped)Storage|torch\.nn\.parameter Parameter"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter)"
)
_LONGEST_ENCODED = 1024
_CEILING = 2**40


class ForbiddenError(ValueError):
    """A pickle asks for something that no checkpoint needs; the message is its name."""


def check_pickle(pickled: bytes) -> None:
    """Refuse a pickle that PyTorch would not have written.

    Raises:
        ForbiddenError: It asks for a function or class that checkpoints do without.
        ValueError: It is damaged, or wants more work or memory than its length accounts for.
    """
    if len(pickled) > LARGEST_PICKLE:
        raise ValueError(f"a pickle of {len(pickled)} bytes, where {LARGEST_PICKLE} are plenty")
    machine = _Machine(budget=len(pickled))
    for opcode, argument, _ in pickletools.genops(pickled):
        machine.step(opcode.name, argument)


class _Value:
    """An object of the pickle, known by how many it holds, itself included."""

    __slots__ = ("name", "size")

    def __init__(self, size: int = 1, name: str = "") -> None:
        self.size = min(size, _CEILING)
        self.name = name


class _Machine:
    """The unpickler's stack, with sizes in the place of objects."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._stack: list[_Value] = []
        self._outer: list[list[_Value]] = []
        self._memo: dict[int, _Value] = {}
        self._last = ""
        self._steps: dict[str, Callable[[object], None]] = {
            "PROTO": self._check_protocol,
            "STOP": lambda _: None,
            "MARK": lambda _: self._mark(),
            "GLOBAL": self._name,
            "BINUNICODE": self._text,
            "SHORT_BINSTRING": self._text,
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "TUPLE1": lambda _: self._join(self._pop(1)),
            "TUPLE2": lambda _: self._join(self._pop(2)),
            "TUPLE3": lambda _: self._join(self._pop(3)),
            "TUPLE": lambda _: self._join(self._pop_marked()),
            "APPEND": lambda _: self._extend(self._pop(1)),
            "APPENDS": lambda _: self._extend(self._pop_marked()),
            "SETITEM": lambda _: self._set_items(self._pop(2)),
            "SETITEMS": lambda _: self._set_items(self._pop_marked()),
            "BINPERSID": lambda _: self._load_storage(),
            "REDUCE": lambda _: self._call(),
            "NEWOBJ": lambda _: self._call(),
            "BUILD": lambda _: self._build(),
        }
        plain = "NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 BINFLOAT LONG1 EMPTY_TUPLE EMPTY_LIST"
        for opcode in (*plain.split(), "EMPTY_DICT", "EMPTY_SET"):
            self._steps[opcode] = lambda _: self._stack.append(_Value())

    def step(self, opcode: str, argument: object) -> None:
        """Follow one opcode."""
        if opcode not in self._steps:
            raise ValueError(f"a pickle with {opcode}, which PyTorch does not write")
        self._steps[opcode](argument)
        if "PUT" not in opcode:  # which leaves the stack as it is
            self._last = opcode

    def _check_protocol(self, protocol: object) -> None:
        if protocol != 2:
            raise ValueError(f"a pickle of protocol {protocol}, where PyTorch writes 2")

    def _name(self, name: object) -> None:
        if not _ALLOWED.fullmatch(str(name)):
            raise ForbiddenError(str(name).replace(" ", "."))
        self._stack.append(_Value(name=str(name)))

    def _text(self, text: object) -> None:
        self._stack.append(_Value(1 + len(str(text)) // 64))

    def _put(self, place: object) -> None:
        (value,) = self._pop(1)
        self._stack.append(value)
        self._memo[int(str(place))] = value

    def _get(self, place: object) -> None:
        if place not in self._memo:
            raise ValueError("a pickle that remembers what it never read")
        self._stack.append(self._memo[int(str(place))])

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _pop(self, count: int) -> list[_Value]:
        if len(self._stack) < count:
            raise ValueError("a pickle that takes what it has not given")
        popped = self._stack[-count:]
        del self._stack[-count:]
        return popped

    def _pop_marked(self) -> list[_Value]:
        if not self._outer:
            raise ValueError("a pickle whose marks do not match")
        popped, self._stack = self._stack, self._outer.pop()
        return popped

    def _join(self, values: list[_Value]) -> None:
        self._stack.append(_Value(1 + _size(values)))

    def _extend(self, values: list[_Value]) -> None:
        (container,) = self._pop(1)
        container.size = min(container.size + _size(values), _CEILING)
        self._stack.append(container)

    def _set_items(self, values: list[_Value]) -> None:
        self._spend(_size(values[::2]))  # keys are hashed with all that they hold
        self._extend(values)

    def _load_storage(self) -> None:
        self._spend(_size(self._pop(1)))
        self._stack.append(_Value())

    def _call(self) -> None:
        """A function may copy whatever it is given."""
        function, arguments = self._pop(2)
        if "TUPLE" not in self._last:  # one from the memo may hold lists that have grown since
            raise ValueError("a pickle whose calls PyTorch does not write")
        if function.name == "_codecs encode" and arguments.size > _LONGEST_ENCODED // 64:
            raise ValueError("a pickle with a long text to encode")
        self._spend(arguments.size)
        self._stack.append(_Value(1 + arguments.size))

    def _build(self) -> None:
        state = self._pop(1)
        self._spend(_size(state))
        self._extend(state)

    def _spend(self, work: int) -> None:
        self._budget -= work
        if self._budget < 0:
            raise ValueError("a pickle that wants more work than its length accounts for")


def _size(values: list[_Value]) -> int:
    return sum(value.size for value in values)
