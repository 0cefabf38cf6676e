"""From what a configuration says of content to the bytes of each object."""

from __future__ import annotations

import pytest

from penstock.engine.contents import Contents, content_limits, prepared_number, prepared_recipe, put_number, put_recipe
from penstock.engine.knowing import put_contents
from penstock.engine.places import Places
from penstock.engine.sets import prepared_sets
from penstock.errors import ConfigError, UsageError
from penstock.payloads import aes, checksums
from penstock.workload.config import Config, loads

TEXT = """
target: mem://contents/
seed: {seed}
prepare:
  ensure_objects:
    - {{path: a/, count: 400, size: 4096, {content}}}
    - {{path: b/, count: 400, size: 4096, {content}}}
  directory_structure: {{path: t/, width: 1, depth: 1, files_per_dir: 400, size: 4096, {content}}}
workload:
  - {{op: put, path: "n/{{}}", size: 4096, {content}}}
  - {{op: put, path: "m/{{}}", size: 4096, {content}}}
"""


def configured(content: str, seed: int = 1) -> Config:
    return loads(TEXT.format(content=content, seed=seed), label="w.yaml", environ={})


def test_factors_that_no_compressor_keeps_are_told_once():
    assert content_limits(configured("compress_factor: 12")) == []
    (text,) = content_limits(configured("compress_factor: 16"))
    assert text.startswith("compress_factor 16: in objects below 1 MiB frames of LZ4 come out lower")
    stages = "stages: [{name: s, workload: [{op: put, path: n/, size: 1, compress_factor: 32}, {op: get, path: n/*}]}]"
    config = loads(f"target: mem://c/\nduration: 1s\n{stages}\n", label="w.yaml", environ={})
    assert [text.partition(":")[0] for text in content_limits(config)] == ["compress_factor 32"]


def families(config, run_id, count=400):
    """The bytes of the objects of each prepared set, and of each put of a run."""
    contents, places = Contents(config.seed), Places(config)
    made = []
    for prepared in prepared_sets(config, places, contents.open):
        if prepared.payload is not None:
            made.append([first(prepared.payload, prepared.number(index)) for index in range(count)])
    for put in put_contents(config, places, contents.open, run_id):
        made.append([first(put.payload, put.number(index)) for index in range(count)])
    return made


def first(payload, number, nbytes=4096):
    buffer = bytearray(nbytes)
    payload.fill(memoryview(buffer), obj=number)
    return bytes(buffer)


CONTENTS = ["fill: pooled", "fill: random", "compress_factor: 10", "fill: random, dedup_factor: 3, compress_factor: 2"]


@pytest.mark.parametrize("content", CONTENTS)
def test_every_object_of_every_set_put_and_run_is_its_own(content):
    config = configured(content)
    one, other = families(config, "0000aaaa"), families(config, "0000aaab")
    everything = [body for family in (*one, *other[3:]) for body in family]
    assert len(one) == 5
    assert len(set(everything)) == len(everything) == 7 * 400
    # What was prepared is the same in every run of a seed, and of no other.
    assert one[:3] == other[:3]
    strange = families(configured(content, seed=2), "0000aaaa")
    assert not {body for family in strange for body in family} & set(everything)


@pytest.mark.parametrize("content", ["dedup_factor: 4", "fill: random, dedup_factor: 4, compress_factor: 2"])
def test_across_objects_a_share_of_each_family_is_new(content):
    made = families(configured(f"{content}, dedup_across_objects: true"), "0000aaaa")
    assert [len(set(family)) for family in made] == [100] * 5
    assert len({body for family in made for body in family}) == 500
    again = families(configured(f"{content}, dedup_across_objects: true"), "0000aaab")
    assert again[:3] == made[:3]
    assert not {body for family in again[3:] for body in family} & {body for family in made for body in family}


def test_a_payload_is_opened_once_for_all_that_have_its_recipe():
    config = configured("fill: random")
    contents = Contents(1)
    one, other = config.prepare.ensure_objects
    assert contents.open(prepared_recipe(one, 0)) is contents.open(prepared_recipe(other, 1))
    assert contents.open(put_recipe(config.workload[0], "r", 0)) is contents.open(prepared_recipe(one, 0))
    assert prepared_number(one, 0)(5) != prepared_number(other, 1)(5) != put_number(config.workload[0], "r", 0)(5)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("fill: nothing", "unknown fill 'nothing'"),
        ("fill: zero, compress_factor: 2", "fill: zero repeats and compresses as it is"),
        ("fill: zero, dedup_factor: 2", "leave the factor out, or write fill: pooled"),
        ("dedup_across_objects: true", "with dedup_factor 1 nothing repeats"),
        ("compress_factor: 0.9", "write 1 or more"),
        ("compress_factor: 101", "write 100 or less"),
        ("dedup_factor: none", "dedup_factor"),
    ],
)
def test_content_that_can_not_be_is_refused_wherever_objects_are_made(content, problem):
    with pytest.raises(ConfigError) as caught:
        configured(content)
    assert len(caught.value.problems) == 5
    assert all(problem in text for text in caught.value.problems)


def test_blocks_are_counted_through_objects_only_where_sizes_have_a_bound():
    size = "{lognormal: {mean: 4096, std_dev: 1000}}"
    text = f"""
target: mem://contents/
workload: [{{op: put, path: n/, size: {size}, dedup_factor: 2, dedup_across_objects: true}}]
"""
    with pytest.raises(ConfigError, match="give the size a max"):
        loads(text, label="w.yaml", environ={})
    loads(text.replace("std_dev: 1000", "std_dev: 1000, max: 9000"), label="w.yaml", environ={})


def test_what_this_python_lacks_is_said_before_the_run(monkeypatch):
    def absent(*_):
        raise UsageError("pip install it")

    monkeypatch.setattr(aes, "_maker", absent)
    with pytest.raises(ConfigError, match="fill: pip install it"):
        configured("fill: random")
    monkeypatch.setattr(checksums, "_implementation", absent)
    base = "target: mem://b/\nworkload: [{op: get, path: a}]\nverify: "
    loads(f"{base}content", label="w.yaml", environ={})
    with pytest.raises(ConfigError, match="verify: pip install it"):
        loads(f"{base}checksum", label="w.yaml", environ={})
