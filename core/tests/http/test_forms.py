"""Forms of heads: whatever a form takes, the strict reader takes too, and means the same by it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.errors import StoreConnectionError
from penstock.http.forms import USUAL_HEAD, Forms
from penstock.http.heads import frame, read_head

OBJECT = (
    "HTTP/1.1 200 OK\r\nServer: x\r\nDate: Sat, 21 Nov 2026 15:24:06 GMT\r\nContent-Length: 11\r\n"
    'Connection: keep-alive\r\nETag: "9bb5"\r\nx-amz-meta-a:b\r\n\r\n'
)
TWICE = (
    "HTTP/1.1 200 OK\r\nVary: Origin\r\nX-Hash: a=1\r\nvary:X-Origin \r\nContent-Length: 0\r\nX-Hash: b=2\r\n"
    "Vary: Z\r\n\r\n"
)
EMPTY = "HTTP/1.1 204 No Content\r\nServer: x\r\nx-request: 1\r\n\r\n"
MISSING = "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\n"
POISON = (
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    "-",
    "+",
    "0",
    "\r\n\r\n",
    "\x0b",
    "\x85",
    "\xb2",
    "\xff",
    "\u0661",
)


def strictly(text, bodiless):
    """What the strict reader makes of the head at the beginning of ``text``; None if it is none or not whole."""
    raw, end, _ = text.partition("\r\n\r\n")
    if not end:
        return None
    try:
        status, version, fields = read_head(raw)
        return frame(status, version, fields, bodiless=bodiless) if status >= 200 else None
    except StoreConnectionError:
        return None


def plainly(head):
    """A head with its fields in a dictionary."""
    status, names, values, *rest = head
    return status, {name: values[number].strip(" \t") for name, number in names.items()}, *rest


def taught(*texts, times=3):
    forms = Forms()
    for text in texts:
        head = strictly(text, False)
        assert head is not None
        for _ in range(times):
            forms.learn(text[:-4], head)
    return forms


def agrees(forms, text, bodiless):
    """Whether a form took the text; then the strict reader has to have read just that."""
    found = forms.read(text, bodiless)
    if found is None:
        return False
    head, end = found
    reference = strictly(text, bodiless)
    assert reference is not None, text
    assert plainly(head) == plainly(reference)
    assert end == text.index("\r\n\r\n") + 4
    return True


@pytest.mark.parametrize("bodiless", [False, True])
def test_heads_that_came_three_times_are_taken_with_other_values(bodiless):
    forms = taught(OBJECT, TWICE, EMPTY, MISSING)
    assert agrees(forms, OBJECT.replace("9bb5", "").replace("11", "000123"), bodiless)
    assert agrees(forms, TWICE.replace("a=1", "a=77 "), bodiless)
    assert agrees(forms, EMPTY, bodiless)
    assert agrees(forms, MISSING + "abc", bodiless)
    assert forms.read(OBJECT.replace("200 OK", "206 Partial Content"), bodiless) is None


def test_a_head_that_came_twice_is_left_to_the_strict_reader():
    assert taught(OBJECT, times=2).read(OBJECT, False) is None


@pytest.mark.parametrize(
    "text",
    [
        OBJECT.replace("HTTP/1.1", "HTTP/1.0"),
        OBJECT.replace("Content-Length: 11", "Transfer-Encoding: chunked"),
        OBJECT.replace("Content-Length: 11", "Content-Length: 11, 11"),
        OBJECT.replace("Content-Length: 11", "Content-Length: 11\r\nContent-Length: 11"),
        OBJECT.replace("Content-Length: 11\r\n", ""),
        OBJECT.replace("keep-alive", "close"),
        OBJECT.replace("keep-alive", "keep-alive, upgrade"),
        OBJECT.replace("9bb5", "9b\tb5"),
        OBJECT.replace("9bb5", "\xe9"),
        OBJECT.replace("9bb5", "9" * USUAL_HEAD),
        OBJECT.replace("ETag", "Connection"),
        EMPTY.replace("Server: x", "Content-Length: 0"),
    ],
)
def test_what_is_hard_is_never_made_a_form_of(text):
    assert taught(text, times=10).read(text, False) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("keep-alive", "close"),
        ("keep-alive", "Keep-Alive"),
        ("11", "1" * 18),
        ("11", "1" * 19),
        ("11", ""),
        ("11", "1 1"),
    ],
)
@pytest.mark.parametrize("bodiless", [False, True])
def test_what_delimits_a_body_is_taken_only_as_the_strict_reader_takes_it(old, new, bodiless):
    agrees(taught(OBJECT), OBJECT.replace(old, new), bodiless)


def test_an_answer_to_head_teaches_nothing_that_is_wrong_for_a_get():
    both = OBJECT.replace("ETag", "Transfer-Encoding").replace('"9bb5"', "chunked")
    forms = Forms()
    for _ in range(5):
        forms.learn(both[:-4], strictly(both, True))
    assert strictly(both, False) is None
    assert forms.read(both, False) is None


def test_a_head_that_is_not_whole_is_not_taken():
    forms = taught(OBJECT)
    assert not any(forms.read(OBJECT[:end], False) for end in range(len(OBJECT)))


@pytest.mark.parametrize("text", [OBJECT, TWICE, EMPTY, MISSING])
def test_a_form_takes_nothing_that_the_strict_reader_refuses_or_reads_otherwise(text):
    forms = taught(OBJECT, TWICE, EMPTY, MISSING)
    taken = 0
    for at in range(len(text)):
        for poison in POISON:
            taken += agrees(forms, text[:at] + poison + text[at:], False)
            taken += agrees(forms, text[:at] + poison + text[at + 1 :], True)
        taken += agrees(forms, text[:at] + text[at + 1 :], False)
    assert taken > len(text)


@given(
    text=st.sampled_from([OBJECT, TWICE, EMPTY, MISSING]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.text(max_size=4)), max_size=4),
    bodiless=st.booleans(),
)
@example(OBJECT, [(0.99, 0, "\r\n\r\nHTTP/1.1 200 OK")], False)
def test_a_broken_head_is_taken_by_a_form_only_as_the_strict_reader_takes_it(text, places, bodiless):
    forms = taught(OBJECT, TWICE, EMPTY, MISSING)
    for place, cut, more in places:
        at = round(place * len(text))
        text = text[:at] + more + text[at + cut :]
    agrees(forms, text.encode("latin-1", "replace").decode("latin-1"), bodiless)


def test_forms_are_bounded():
    forms = taught(*(OBJECT.replace("x-amz-meta-a", f"x-{number}") for number in range(20)))
    took = [forms.read(OBJECT.replace("x-amz-meta-a", f"x-{number}"), False) is not None for number in range(20)]
    assert took == [True] * 8 + [False] * 12
    changing = taught(*(OBJECT.replace("x-amz-meta-a", f"x-{number}") for number in range(300)), times=1)
    for _ in range(3):
        changing.learn(OBJECT[:-4], strictly(OBJECT, False))
    assert changing.read(OBJECT, False) is None


def test_answers_of_a_known_form_are_read_as_the_first_one_was(told, asking):
    body = b"hello world"
    for number in range(8):
        told.wire = f"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-Number: {number}\r\n\r\n".encode() + body
        answer = asking.send("/known")
        assert (answer.header("x-number"), answer.length, answer.header("x-none")) == (str(number), 11, None)
        assert answer.headers == {"content-length": "11", "x-number": str(number)}
        assert answer.names == "content-length x-number"
        assert answer.read() == body


@pytest.mark.parametrize("pieces", [(), (1,) * 200, (30, 40)])
def test_a_known_form_that_comes_in_pieces_with_a_false_end_is_refused(told, asking, pieces):
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\n\r\nhello"
    told.wire, told.pieces = good, ()
    for _ in range(4):
        assert asking.send("/known").read() == b"hello"
    for bad in (b"\n", b"\r", b"\0", b"\r\n "):
        told.wire, told.pieces, told.end = good.replace(b"X-A: 1", b"X-A: 1" + bad + b"2"), pieces, "close"
        with pytest.raises(StoreConnectionError):
            asking.send("/known").read()
    told.wire, told.pieces, told.end = good, pieces, "keep"
    assert asking.send("/known").read() == b"hello"
