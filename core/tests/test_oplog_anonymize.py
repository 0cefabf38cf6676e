"""Pseudonyms in logs: what is replaced, what stays, and that nothing is kept of the names."""

from __future__ import annotations

import tracemalloc

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import OpLogError
from penstock.oplog import COLUMNS, Row, anonymizing, read
from penstock.oplog.anonymizing import Pseudonyms, anonymize_log

KEY = b"a secret of ours"
ROW = Row(3, 1, "GET", "host7", 1, 7, "http://10.0.0.5:9000", "mybucket/train/alice.npz", "", 10, 12, 15, 5)
names = st.lists(
    st.text(st.characters(exclude_characters="/", exclude_categories=()), min_size=1), min_size=1, max_size=5
)


def test_what_is_replaced_and_what_stays():
    made = Pseudonyms(KEY).row(ROW)
    assert attrs.evolve(made, client_id=ROW.client_id, endpoint=ROW.endpoint, file=ROW.file) == ROW
    assert made.endpoint.startswith("http://")
    assert made.endpoint.endswith(":9000")
    assert made.file.count("/") == 2
    for name in ("10.0.0.5", "mybucket", "train", "alice", "npz", "host7"):
        assert name not in f"{made.endpoint} {made.file} {made.client_id}"


def test_the_same_prefix_has_the_same_pseudonym():
    hide = Pseudonyms(KEY).path
    a, b, c = (hide(name).split("/") for name in ("b/train/1", "b/train/2", "b/test/1"))
    assert a[:2] == b[:2]
    assert a[0] == c[0]
    assert len({a[2], b[2], c[2], a[1], c[1]}) == 5
    assert hide("b//x/./../") == "/".join([a[0], "", hide("b//x").split("/")[2], ".", "..", ""])


@given(names, names)
def test_names_differ_exactly_where_they_differed(one, other):
    hide = Pseudonyms(KEY).path
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    first, second = hide("/".join(one)).split("/"), hide("/".join(other)).split("/")
    assert (len(first), len(second)) == (len(one), len(other))
    assert first[:same] == second[:same]
    dots = {".", ".."}
    assert all(a != b for a, b in zip(first[same:], second[same:], strict=False) if a not in dots or b not in dots)


def test_keys():
    assert Pseudonyms(KEY).row(ROW) == Pseudonyms(KEY).row(ROW)
    assert len({Pseudonyms(key).path("a") for key in (KEY, KEY * 20, KEY * 21, None, None)}) == 5
    with pytest.raises(OpLogError, match="a key of 3 bytes"):
        Pseudonyms(b"abc")


def test_a_host_has_one_pseudonym_in_endpoint_and_file():
    made = Pseudonyms(KEY).row(attrs.evolve(ROW, endpoint="s3+http://h:9000", file="h:9000/b/k"))
    assert made.file.startswith(made.endpoint.removeprefix("s3+http://") + "/")
    assert Pseudonyms(KEY).endpoint("s3://") == "s3://"
    assert Pseudonyms(KEY).endpoint("") == ""


def test_suffixes_are_kept_on_request():
    hide = Pseudonyms(KEY, keep_suffixes=True).path
    assert [hide(name)[-len(end) - 1 :] for name, end in [("b/a.npz", ".npz"), ("b.x/a.tar.gz", ".tar.gz")]] == [
        hide("b/a.npz").rpartition(".")[0][-1] + ".npz",
        hide("b.x/a.tar.gz").partition(".")[0][-1] + ".tar.gz",
    ]
    assert "." not in hide("b/.bashrc")
    assert "." not in hide("b/a.2026")
    assert "." not in Pseudonyms(KEY).path("b/a.npz")


def test_the_warm_up_stays_visible():
    client = Pseudonyms(KEY).client
    assert client("me/warmup") == f"{client('me')}/warmup"
    assert client("warmup") == "warmup"
    assert client("") == ""


@pytest.mark.parametrize(
    "text",
    [
        "no object mybucket/train/alice.npz at http://10.0.0.5:9000 for host7",
        "train/alice.npz is not in mybucket",
        "GET http://10.0.0.5:9000/mybucket/train/alice.npz?x=mybucket failed",
        "alice.npz, (mybucket) 'train'",
        "/home/bob/secret.txt and s3://other/place or carol.example.com:80, 192.168.1.2",
    ],
)
def test_names_in_errors(text):
    made = Pseudonyms(KEY).row(attrs.evolve(ROW, error=f"ObjectNotFoundError: {text}"))
    assert made.error.startswith("ObjectNotFoundError: ")
    hidden = ("alice", "mybucket", "train", "host7", "10.0.0.5", "bob", "secret", "other/", "place", "carol", "192.168")
    for name in hidden:
        assert name not in made.error
    assert "\x00" not in made.error


def test_errors_name_the_pseudonyms_of_the_row():
    made = Pseudonyms(KEY).row(attrs.evolve(ROW, error=f"E: {ROW.endpoint} has no {ROW.file}, says {ROW.client_id}"))
    assert made.error == f"E: {made.endpoint} has no {made.file}, says {made.client_id}"
    words = "TimeoutError: the server did not answer within 60 s"
    assert Pseudonyms(KEY).row(attrs.evolve(ROW, error=words)).error == words


@given(names, st.text(), st.text())
def test_any_error_can_be_read(parts, before, after):
    file = "/".join(parts)
    made = Pseudonyms(KEY).row(attrs.evolve(ROW, file=file, error=f"E: {before} {file} {after}"))
    assert (
        made.file in made.error or file.strip("./") == "" or "\x00" in file or made.file.count("/") != file.count("/")
    )


def test_a_log(tmp_path):
    source = tmp_path / "a.tsv"
    header = "\t".join((*COLUMNS, "own"))
    lines = ["\t".join((*attrs.evolve(ROW, idx=idx).texts(), own)) for idx, own in enumerate(["x", "17", ""])]
    source.write_text("\n".join([header, *lines]) + "\n")
    assert anonymize_log(source, tmp_path / "b.tsv.zst", key=KEY).rows == 3
    with read(tmp_path / "b.tsv.zst") as reader:
        found = list(reader)
    assert [attrs.evolve(row, extra=()) for row in found] == [
        Pseudonyms(KEY).row(attrs.evolve(ROW, idx=idx)) for idx in range(3)
    ]
    assert [row.extra[0][1] for row in found[1:]] == ["17", ""]
    assert found[0].extra[0][1] not in ("x", "")


def test_memory_does_not_grow_with_the_names(monkeypatch):
    monkeypatch.setattr(anonymizing, "_CACHED", 1000)
    hide = Pseudonyms(KEY)
    tracemalloc.start()
    held = []
    for begin in range(0, 6000, 2000):
        for number in range(begin, begin + 2000):
            hide.path(f"{number}")
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[2] < 1.2 * held[0]
