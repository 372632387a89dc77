"""Reading pickles from the internet: plain data only, without Python's unpickler.

Python's unpickler can be limited to plain types, but not in memory, time or stack: nine bytes make
it reserve gigabytes for its memo, and a dict whose key is a deeply nested tuple ends the process.
This module implements the few instructions that plain data need.
"""

from __future__ import annotations

import codecs
import pickletools
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# How Python 3 writes bytes for Python 2: a call of this function with the text and a codec's name.
BYTES_FUNCTION = ("_codecs", "encode")
STOP, LONG_BINPUT, BINGET, BINUNICODE = b".rhX"
CODECS = ("latin1", "latin-1", "utf-8", "ascii")


class _UnreadablePickleError(ValueError):
    """A pickle that is refused, with the reason."""


class _PickleReader:
    """The part of the pickle machine that lists, dicts, tuples, texts, bytes and numbers need.

    Memory and time are linear in the length of the content.
    """

    def __init__(self, content: bytes, *, encoding: str):
        """
        Args:
            content: of the file.
            encoding: of Python 2's byte strings.
        """
        self.content, self.end = content, len(content)
        self.encoding = encoding
        self.position = 0
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []  # one per open mark
        self.memo: dict[int, Any] = {}

    def read(self) -> Any:
        """The object that the content describes.

        Raises:
            UnicodeDecodeError: a text is not in its encoding.
            ValueError, LookupError, TypeError, AttributeError: the content is damaged, or asks for
                more than plain data need.
        """
        content, memo, position = self.content, self.memo, 0
        while (opcode := content[position]) != STOP:
            # These three are two thirds of a file; handled here, they take a third of the time.
            if opcode == LONG_BINPUT:
                memo[int.from_bytes(content[position + 1 : position + 5], "little")] = self.stack[
                    -1
                ]
                position += 5
            elif opcode == BINGET:
                self.stack.append(memo[content[position + 1]])
                position += 2
            elif opcode == BINUNICODE:
                start = position + 5
                position = start + int.from_bytes(content[position + 1 : start], "little")
                self.stack.append(str(content[start:position], "utf-8", "surrogatepass"))
            else:
                self.position = position + 1
                _find_instruction(opcode)(self)
                position = self.position
        return self.stack.pop()

    def take(self, number: int) -> bytes:
        """The next bytes."""
        start = self.position
        self.position += number
        if self.position > self.end:
            raise _UnreadablePickleError("it ends too early")
        return self.content[start : self.position]

    def take_number(self, size: int) -> int:
        """A number without sign, of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def take_line(self) -> bytes:
        return self.take(self.content.index(b"\n", self.position) + 1 - self.position)[:-1]

    def close_mark(self) -> list[Any]:
        """Pop everything pushed since the last mark."""
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def push_constant(self, make: Callable[[], Any]) -> None:
        self.stack.append(make())

    def push_counted(self, size: int, convert: Callable[[_PickleReader, bytes], Any]) -> None:
        """Push bytes that follow their length, a number of ``size`` bytes."""
        self.stack.append(convert(self, self.take(self.take_number(size))))

    def push_line(self, convert: Callable[[_PickleReader, bytes], Any]) -> None:
        self.stack.append(convert(self, self.take_line()))

    def decode_old_text(self, content: bytes) -> str:
        return content.decode(self.encoding)

    def decode_quoted_text(self, line: bytes) -> str:
        quoted = line.strip()
        if len(quoted) < 2 or quoted[:1] not in (b"'", b'"') or quoted[-1:] != quoted[:1]:
            raise _UnreadablePickleError("it contains a text without quotes")
        return self.decode_old_text(codecs.escape_decode(quoted[1:-1])[0])

    def memorize(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def recall(self, key: int) -> None:
        self.stack.append(self.memo[key])

    def open_mark(self) -> None:
        self.outer_stacks.append(self.stack)
        self.stack = []

    def make_list(self) -> None:
        items = self.close_mark()
        self.stack.append(items)

    def make_tuple(self, number: int | None) -> None:
        """Push a tuple of the last items, or of all since the mark."""
        if number is None:
            items = self.close_mark()
        else:
            items = [self.stack.pop() for _ in range(number)][::-1]
        self.stack.append(tuple(items))

    def make_dict(self) -> None:
        items = self.close_mark()
        self.stack.append({})
        self.set_items(items)

    def append(self) -> None:
        item = self.stack.pop()
        self.extend([item])

    def extend(self, items: list[Any]) -> None:
        self.stack[-1].extend(items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Some keys of other types take for ever to compare, or end the process.
            if not isinstance(key, str) or not isinstance(target, dict):
                raise _UnreadablePickleError(f"a dict has a key of type {type(key).__name__}")
            target[key] = value

    def push_name(self, module: str, name: str) -> None:
        if (module, name) != BYTES_FUNCTION:
            raise _UnreadablePickleError(
                f"it imports {module}.{name}, which plain data does not need"
            )
        self.stack.append(BYTES_FUNCTION)

    def call(self) -> None:
        (text, codec), function = self.stack.pop(), self.stack.pop()
        if function is not BYTES_FUNCTION or codec not in CODECS:
            raise _UnreadablePickleError(
                f"it calls a codec, {codec!r:.40}, that plain data do not need"
            )
        self.stack.append(text.encode(codec))


def _parse_whole_number(_: _PickleReader, line: bytes) -> int | bool:
    if line in (b"00", b"01"):  # how the oldest protocol writes False and True
        return line == b"01"
    return int(line.rstrip(b"L"))  # Python refuses thousands of digits by itself


def _decode_signed_number(_: _PickleReader, content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


def _decode_text(_: _PickleReader, content: bytes) -> str:
    return str(content, "utf-8", "surrogatepass")


def _keep_bytes(_: _PickleReader, content: bytes) -> bytes:
    return content


Reader = _PickleReader
_ACTIONS: dict[str, Callable[[_PickleReader], object]] = {
    "\x80": lambda reader: reader.take(1),  # the protocol
    "\x95": lambda reader: reader.take(8),  # a frame's length
    "N": partial(Reader.push_constant, make=lambda: None),
    "\x88": partial(Reader.push_constant, make=lambda: True),
    "\x89": partial(Reader.push_constant, make=lambda: False),
    "]": partial(Reader.push_constant, make=list),
    "}": partial(Reader.push_constant, make=dict),
    ")": partial(Reader.push_constant, make=tuple),
    "J": lambda reader: reader.stack.append(_decode_signed_number(reader, reader.take(4))),
    "K": lambda reader: reader.stack.append(reader.take_number(1)),
    "M": lambda reader: reader.stack.append(reader.take_number(2)),
    "G": lambda reader: reader.stack.extend(struct.unpack(">d", reader.take(8))),
    "\x8a": partial(Reader.push_counted, size=1, convert=_decode_signed_number),
    "U": partial(Reader.push_counted, size=1, convert=Reader.decode_old_text),
    "T": partial(Reader.push_counted, size=4, convert=Reader.decode_old_text),
    "\x8c": partial(Reader.push_counted, size=1, convert=_decode_text),
    "\x8d": partial(Reader.push_counted, size=8, convert=_decode_text),
    "C": partial(Reader.push_counted, size=1, convert=_keep_bytes),
    "B": partial(Reader.push_counted, size=4, convert=_keep_bytes),
    "\x8e": partial(Reader.push_counted, size=8, convert=_keep_bytes),
    "I": partial(Reader.push_line, convert=_parse_whole_number),
    "L": partial(Reader.push_line, convert=_parse_whole_number),
    "F": partial(Reader.push_line, convert=lambda _, line: float(line)),
    "S": partial(Reader.push_line, convert=Reader.decode_quoted_text),
    "V": partial(Reader.push_line, convert=lambda _, line: str(line, "raw-unicode-escape")),
    "(": Reader.open_mark,
    "l": Reader.make_list,
    "d": Reader.make_dict,
    "t": partial(Reader.make_tuple, number=None),
    "\x85": partial(Reader.make_tuple, number=1),
    "\x86": partial(Reader.make_tuple, number=2),
    "\x87": partial(Reader.make_tuple, number=3),
    "a": Reader.append,
    "e": lambda reader: reader.extend(reader.close_mark()),
    "s": Reader.set_item,
    "u": lambda reader: reader.set_items(reader.close_mark()),
    "q": lambda reader: reader.memorize(reader.take_number(1)),
    "p": lambda reader: reader.memorize(int(reader.take_line())),
    "\x94": lambda reader: reader.memorize(len(reader.memo)),
    "j": lambda reader: reader.recall(reader.take_number(4)),
    "g": lambda reader: reader.recall(int(reader.take_line())),
    "c": lambda reader: reader.push_name(
        reader.take_line().decode("utf-8"), reader.take_line().decode("utf-8")
    ),
    "\x93": lambda reader: reader.push_name(*map(str, reader.stack[-2:])),
    "R": Reader.call,
}
INSTRUCTIONS = {ord(code): action for code, action in _ACTIONS.items()}


def _find_instruction(opcode: int) -> Callable[[_PickleReader], object]:
    """The action of an instruction.

    Raises:
        UnreadablePickleError: plain data do not need it.
    """
    if opcode not in INSTRUCTIONS:
        names = {instruction.code: instruction.name for instruction in pickletools.opcodes}
        name = names.get(chr(opcode), f"{opcode:#04x}")
        raise _UnreadablePickleError(f"it has the instruction {name}, which plain data do not need")
    return INSTRUCTIONS[opcode]


def read_plain_pickle(path: Path) -> Any:
    """Read a pickle of plain data without running code from it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or contains anything but lists, tuples, dicts with text
            keys, texts, bytes and numbers.
    """
    content = path.read_bytes()
    for encoding in ("utf-8", "latin-1"):  # files written by Python 2 are latin-1
        try:
            return _PickleReader(content, encoding=encoding).read()
        except UnicodeDecodeError:
            continue
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            reason = error if isinstance(error, _UnreadablePickleError) else "it is damaged"
            raise ValueError(
                f"{path}: refused to read this pickle: {reason}. "
                "Download the file again from the dataset's publisher."
            ) from error
    raise ValueError(f"{path}: its strings are neither UTF-8 nor latin-1")
