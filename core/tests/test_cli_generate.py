"""``penstock generate`` and ``penstock verify``."""

from __future__ import annotations

import json
import os
import re
import shlex
import uuid

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli import main
from penstock.cli.generated import Template
from penstock.errors import UsageError


def run(*arguments, code=0):
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == code, f"exit code {done.exit_code}: {done.output}"
    return done


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(params=["file", "mem"])
def base(request, here):
    return "data/" if request.param == "file" else f"mem://{uuid.uuid4().hex}/data/"


FACTORS = [
    [],
    ["--fill", "random"],
    ["--fill", "zero"],
    ["--compress-factor", "3", "--dedup-factor", "2.5"],
    ["--fill", "random", "--dedup-factor", "2", "--dedup-across"],
]


@pytest.mark.parametrize("factors", FACTORS, ids=" ".join)
def test_the_command_that_generate_prints_checks_what_it_wrote(base, factors):
    said = run("generate", base, "-n", "6", "-s", "100KiB", *factors).stderr
    assert "wrote 6 objects, 600 KiB" in said
    command = shlex.split(re.search(r"^to check them: penstock (.*)$", said, re.MULTILINE)[1])
    assert "checked 6 objects, 600 KiB" in run(*command).stderr
    assert run(*command).stderr.rstrip().endswith("all as generated")


def test_what_compressors_make_of_a_large_factor_is_told(here):
    said = run("generate", "d/", "-n", "1", "-s", "4096", "--compress-factor", "16").stderr
    assert "compress_factor 16: in objects below 1 MiB frames of LZ4 come out lower" in said
    assert "compress_factor" not in run("generate", "e/", "-n", "1", "-s", "4096", "--compress-factor", "12").stderr


def test_the_same_seed_makes_the_same_objects_and_none_makes_new_ones(here):
    for directory, seed in (("a", ["--seed", "4"]), ("b", ["--seed", "4"]), ("c", []), ("d", [])):
        run("generate", f"{directory}/", "-n", "3", "-s", "5000", *seed)
    bodies = {d: [(here / d / f"object_{n}_of_3.dat").read_bytes() for n in range(3)] for d in "abcd"}
    assert bodies["a"] == bodies["b"]
    assert len({body for d in "acd" for body in bodies[d]}) == 9


def test_every_object_is_its_own_however_large(here):
    run("generate", "x/", "-n", "2", "-s", "70MiB", "--seed", "1")
    run("verify", "x/", "--seed", "1")
    assert (here / "x/object_0_of_2.dat").stat().st_size == 70 << 20
    # A single one is made by several threads, and holds the same.
    run("generate", "y/", "-s", "70MiB", "--seed", "1", "-t", "object_{}_of_2.dat")
    assert (here / "y/object_0_of_2.dat").read_bytes() == (here / "x/object_0_of_2.dat").read_bytes()


def test_what_is_wrong_is_listed_with_its_place(here):
    run("generate", "x/", "-n", "6", "-s", "300000", "--seed", "9", "-t", "o-{:03d}")
    folder = here / "x"
    with (folder / "o-001").open("r+b") as file:
        file.seek(270_001)
        byte = file.read(1)[0]
        file.seek(270_001)
        file.write(bytes([byte ^ 1]))
    os.truncate(folder / "o-002", 299_999)
    os.truncate(folder / "o-003", 300_001)
    (folder / "o-004").unlink()
    os.truncate(folder / "o-005", 0)
    (folder / "stranger").write_bytes(b"?")
    done = run("verify", "x/", "--seed", "9", "-t", "o-{:03d}", "-n", "6", "-s", "300000", code=1)
    lines = [line.removeprefix("file://./x/") for line in done.stdout.splitlines()]
    assert lines == [
        "o-001: differs from byte 270001 on",
        "o-002: has 299999 bytes, not 300000",
        f"o-003: {lines[2].partition(': ')[2]}",
        "o-005: has 0 bytes, not 300000",
        "o-004: there is no such object",
    ]
    assert "differs from byte 300000 on" in lines[2] or "has 300001 bytes" in lines[2]
    assert "1 missing" in done.stderr
    assert "not checked: 1 with other names" in done.stderr
    found = json.loads(
        run("verify", "x/", "--seed", "9", "-t", "o-{:03d}", "-n", "6", "-s", "300000", "--json", code=1).stdout
    )
    assert (found["objects"], found["right"], found["not_checked"]) == (5, 1, 1)
    assert [(fault["kind"], fault["offset"]) for fault in found["wrong"]][:2] == [
        ("different", 270_001),
        ("size", 299_999),
    ]
    assert found["wrong"][-1]["kind"] == "missing"


def test_without_a_size_the_odd_one_out_is_found(here):
    run("generate", "x/", "-n", "4", "-s", "5000", "--seed", "9")
    os.truncate(here / "x/object_2_of_4.dat", 4000)
    assert "object_2_of_4.dat: has 4000 bytes, not 5000" in run("verify", "x/", "--seed", "9", code=1).stdout


def test_an_object_that_the_names_promise_is_missed(base):
    run("generate", base, "-n", "4", "-s", "50", "--seed", "9")
    run("rm", f"{base}object_3_of_4.dat")
    assert "object_3_of_4.dat: there is no such object" in run("verify", base, "--seed", "9", code=1).stdout


def test_another_seed_or_content_is_another_content(base):
    run("generate", base, "-n", "2", "-s", "5000", "--seed", "9")
    for wrong in (["--seed", "8"], ["--seed", "9", "--fill", "random"], ["--seed", "9", "--compress-factor", "2"]):
        assert "2 different" in run("verify", base, *wrong, code=1).stderr


def test_many_faults_are_counted_and_the_first_are_listed(here):
    run("generate", "x/", "-n", "30", "-s", "10", "--seed", "9")
    done = run("verify", "x/", "--seed", "8", code=1)
    assert len(done.stdout.splitlines()) == 21
    assert "and 10 more" in done.stdout


def test_calls_of_both_are_logged(here):
    run("generate", "x/", "-n", "3", "-s", "10", "--seed", "9", "--op-log", "w.tsv.zst")
    run("verify", "x/", "--seed", "9", "--op-log", "r.tsv.zst")
    assert "3 of 3 rows" in run("generate", "x/", "-n", "3", "-s", "10", "--op-log", "again.tsv").stderr


def test_put_makes_what_verify_checks(base):
    run("put", "-n", "2", "-s", "5000", "--seed", "3", base)
    run("verify", base, "--seed", "3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "x/", "--compress-factor", "0.5"], "a number from 1 on"),
        (["generate", "x/", "--compress-factor", "200"], "at most 100"),
        (["generate", "x/", "--fill", "zero", "--dedup-factor", "2"], "leave the factors out"),
        (["generate", "x/", "--fill", "pool"], "pooled"),
        (["generate", "x/", "--dedup-across"], "--dedup-factor"),
        (["generate", "x/", "-n", "2", "-t", "same"], "different names"),
        (["generate", "x/", "-n", "2", "-t", "{}{}{}"], "at most two"),
        (["generate", "x/*"], "glob"),
        (["verify", "x/"], "--seed"),
    ],
)
def test_what_can_not_be_is_refused_with_the_remedy(here, arguments, message):
    assert message in run(*arguments, code=2).output
    assert not (here / "x").exists()


def test_there_must_be_something_to_check(here):
    assert "no object there has a name" in run("verify", "x/", "--seed", "1", code=1).output
    run("generate", "x/", "-n", "2", "-s", "10", "-t", "{}")
    (here / "x" / "00").write_bytes(b"")
    assert "not checked: 1" in run("verify", "x/", "-t", "{}", "--seed", "1", code=1).stderr


@given(
    st.integers(0, 10**12),
    st.integers(1, 10**12),
    st.sampled_from(["{}", "a{:03d}b", "{:012d}", "o_{}_of_{}.dat", "{:02d}-{:04d}", "x{}.y{}"]),
)
def test_a_name_gives_its_numbers_back(obj, count, text):
    template = Template.compile(text)
    name = template.namer(count)(obj)
    assert template.parse(name) == (obj, count if text.count("{") == 2 else None)
    assert template.parse(f"{name}.") is None
    assert template.parse(f"-{name}") is None


def test_names_that_a_template_does_not_give_are_not_of_it():
    assert Template.compile("{:03d}").parse("01") is None
    assert Template.compile("{}").parse("01") is None
    assert Template.compile("one").parse("one") == (0, None)
    with pytest.raises(UsageError, match="at most two"):
        Template.compile("{}-{}-{}")
