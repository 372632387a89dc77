import os
import pickle
import struct

import pytest

from cadformer_d2.data.plain_pickle import read_plain_pickle

PLAIN = [
    {"ref_id": 1, "ann_id": 300, "image_id": 70_000, "area": 1.5, "no_target": None, "big": 2**70},
    {"sent": "the tánk 左", "tokens": ["the", "tánk", "the"], "negative": -5, "yes": True},
    {"size": (40, 60), "four": (1, 2, 3, 4), "one": (1,), "empty": [[], {}, ()], "no": False},
    {"runs": b"ab\xff\0"},
]


@pytest.fixture
def read(tmp_path):
    def read_content(content):
        (tmp_path / "refs(unc).p").write_bytes(content)
        return read_plain_pickle(tmp_path / "refs(unc).p")

    return read_content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_are_read_as_python_reads_them(read, protocol):
    shared = [PLAIN[0], PLAIN, PLAIN[0]]  # a list twice is one list
    result = read(pickle.dumps(shared, protocol))
    assert result == shared and result[0] is result[2]


@pytest.mark.parametrize(
    "content",
    [
        b"(lp1\n(dp2\nS'sent'\np3\nS'the t\\xe1nk'\np4\nsS'ref_id'\nI7\nsa.",
        b"\x80\x02]q\x01}q\x02(U\x04sentq\x03U\x08the t\xe1nkq\x04U\x06ref_idK\x07ua.",
        b"]q\x01}q\x02(U\x04sentT\x08\0\0\0the t\xe1nkU\x06ref_idL7L\nua.",
    ],
)
def test_byte_strings_of_python_2_are_texts(read, content):
    assert read(content) == [{"sent": "the tánk", "ref_id": 7}]


class Call:
    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_by_name_and_does_not_run(read, protocol, tmp_path):
    touched = tmp_path / "should-not-exist"
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p: refused .* imports posix\.system"):
        read(pickle.dumps([Call(os.system, f"touch {touched}")], protocol))
    assert not touched.exists()


def nested(number):
    return b"N" + b"\x85" * number


HOSTILE = {
    "a memo of gigabytes": (b"Nr\xff\xff\xff\x0f.", None),
    "a nested tuple as key": (b"}" + nested(10**6) + b"Ns.", "a key of type tuple"),
    "a number as key": (b"}K\x01Ns.", "a key of type int"),
    "items for no dict": (b"]" + b"U\x01aNs.", "a key of type str"),
    "a slow codec": (
        b"c_codecs\nencode\n(U\x01aU\x08punycodetR.",
        "a codec, 'punycode'",
    ),
    "an unknown codec": (
        b"c_codecs\nencode\n(X\x01\0\0\0aX\x03\0\0\0abctR.",
        "a codec, 'abc'",
    ),
    "a call of a text": (b"U\x01a(X\x01\0\0\0aX\x05\0\0\0asciitR.", "it calls a codec"),
    "a state to set": (b"}}b.", "the instruction BUILD"),
    "an object": (b"(i__main__\nX\n.", "the instruction INST"),
    "an unknown instruction": (b"\xff.", "the instruction 0xff"),
    "a long number of thousands of digits": (b"L" + b"9" * 5000 + b"L\n.", "it is damaged"),
    "a text longer than the file": (b"X\xff\xff\xff\xffa.", "it is damaged"),
    "bytes longer than the file": (b"\x8e" + struct.pack("<Q", 2**63) + b".", "ends too early"),
    "nothing": (b"", "it is damaged"),
    "no end": (b"]", "it is damaged"),
    "an empty stack": (b".", "it is damaged"),
    "no mark": (b"t.", "it is damaged"),
    "a memo without the entry": (b"h\x05.", "it is damaged"),
    "a text without quotes": (b"Sabc\n.", "a text without quotes"),
    "UTF-8 that is none": (b"X\x01\0\0\0\xff.", "neither UTF-8 nor latin-1"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_or_damaged_pickle_is_refused_or_harmless(read, kind):
    content, message = HOSTILE[kind]
    if message is None:
        assert read(content) is None
        return
    with pytest.raises(ValueError, match=rf"refs\(unc\)\.p: .*{message}"):
        read(content)


def test_deep_nesting_takes_no_stack(read):
    depth, inner = 0, read(b"]" * 100_000 + b"a" * 99_999 + b".")
    while inner:
        depth, inner = depth + 1, inner[0]
    assert depth == 99_999
