"""Globs, and names as functions of a number and back."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.globs import compile_glob
from penstock.workload.names import Mask, Tree, count_numbers, matching, new_names, numbered


def test_masks_write_numbers_as_both_families_of_tools_do():
    assert Mask.compile("prepared-{:08d}.dat", 1).name(7) == "prepared-00000007.dat"
    assert Mask.compile("prepared-%08d.dat", 1).name(123456789) == "prepared-123456789.dat"
    assert Mask.compile("a{}b", 1).name(5) == "a5b"
    assert Mask.compile("a{:d}b", 1).name(5) == "a5b"
    assert Mask.compile("100%% {{x}} %d", 1).name(5) == "100% {x} 5"
    assert Mask.compile("d%d_w%d.dir", 2).name(3, 12) == "d3_w12.dir"
    assert Mask.compile("50% off %d", 1).name(1) == "50% off 1"


@pytest.mark.parametrize(
    ("mask", "numbers", "message"),
    [
        ("x", 1, "0 numbers in it; write one number"),
        ("%d%d", 1, "2 numbers"),
        ("%d%d", 2, "other than a digit between"),
        ("%d7%d", 2, "other than a digit between"),
        ("a{:8d}", 1, "pad with spaces"),
        ("a%8d", 1, "plain % is %%"),
        ("a{name}", 1, "{{ for a plain {"),
        ("a}", 1, "}} for a plain }"),
        ("%0999d", 1, "more digits"),
    ],
)
def test_masks_that_are_none(mask, numbers, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Mask.compile(mask, numbers)


MASKS = st.sampled_from(["prepared-{:08d}.dat", "%d", "a{}", "0{:03d}1", "x/{:02d}/y", "%%%d%%", "9%d9", "{{}}{}"])


@given(MASKS, st.integers(0, 10**12))
def test_a_name_gives_its_number_back(mask, number):
    compiled = Mask.compile(mask, 1)
    assert compiled.parse(compiled.name(number)) == (number,)
    assert compiled.namer()(number) == compiled.name(number)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_name_of_two_numbers_gives_both_back(first, second):
    for mask in ("d%d_w%d.dir", "%d1a%d", "{:04d}-{:02d}"):
        compiled = Mask.compile(mask, 2)
        assert compiled.parse(compiled.name(first, second)) == (first, second)


@pytest.mark.parametrize(
    "name", ["prepared-1.dat", "prepared-000000001.dat", "prepared-0000000x.dat", "", "prepared-٣٣٣٣٣٣٣٣.dat"]
)
def test_only_the_name_itself_parses(name):
    assert Mask.compile("prepared-{:08d}.dat", 1).parse(name) is None


def test_numbered_objects():
    names = numbered("file:///m/data", "o-{:03d}", 1500)
    assert names.base == "file:///m/data/"
    assert (names.count, names.name(7), names.index("o-007"), names.index("o-1499")) == (1500, "o-007", 7, 1499)
    assert names.index("o-1500") is None
    assert names.index("o-7") is None
    assert numbered("", "x%d", 1).base == ""


def tree(width=3, depth=3, files=2, bottom=True, dir_mask="d%d_w%d.dir", file_mask="file_%08d.dat", base="t"):
    return Tree.plan(f"{base}/", width, depth, files, bottom=bottom, dir_mask=dir_mask, file_mask=file_mask)


def test_a_tree_has_width_to_the_level_directories_and_their_files():
    plan = tree()
    directories = [plan.directories.name(index) for index in range(plan.directories.count)]
    assert len(directories) == len(set(directories)) == 3 + 9 + 27
    assert directories[:4] == ["d1_w1.dir", "d1_w2.dir", "d1_w3.dir", "d1_w1.dir/d2_w1.dir"]
    assert directories[-1] == "d1_w3.dir/d2_w3.dir/d3_w3.dir"
    assert all(name.rpartition("/")[0] in directories for name in directories[3:])
    assert plan.count == 27 * 2
    assert plan.name(0) == "d1_w1.dir/d2_w1.dir/d3_w1.dir/file_00000000.dat"
    assert plan.name(53) == "d1_w3.dir/d2_w3.dir/d3_w3.dir/file_00000053.dat"
    everywhere = tree(bottom=False)
    assert everywhere.count == 39 * 2
    assert everywhere.name(1) == "d1_w1.dir/file_00000001.dat"


@given(
    width=st.integers(1, 5),
    depth=st.integers(1, 4),
    files=st.integers(0, 3),
    bottom=st.booleans(),
    dir_mask=st.sampled_from(["d%d_w%d.dir", "sub-%d", "{:02d}.{:03d}"]),
)
def test_names_in_a_tree_give_their_number_back(width, depth, files, bottom, dir_mask):
    plan = tree(width, depth, files, bottom, dir_mask)
    names = [plan.name(index) for index in range(plan.count)]
    assert len(set(names)) == len(names)
    assert [plan.index(name) for name in names] == list(range(plan.count))
    directories = plan.directories
    paths = [directories.name(index) for index in range(directories.count)]
    assert [directories.index(path) for path in paths] == list(range(directories.count))
    assert len(set(paths)) == len(paths)
    assert plan.index(f"x{names[0]}" if names else "x") is None
    assert directories.index("d9_w1.dir") is None
    assert directories.index(f"{paths[-1]}/{paths[0]}") is None


def test_a_tree_of_a_billion_files_is_no_list():
    plan = tree(width=100, depth=4, files=10)
    assert plan.count == 10**9
    assert plan.index(plan.name(987_654_321)) == 987_654_321
    assert matching(compile_glob("t/**"), plan) == range(10**9)
    assert matching(compile_glob("t/*/*/*/*/*.dat"), plan) == range(10**9)
    assert matching(compile_glob("u/**"), plan) == range(0)


def test_trees_that_are_none():
    for changes in ({"dir_mask": "a/%d_%d"}, {"dir_mask": "x"}, {"file_mask": "f"}, {"width": 1000, "depth": 9}):
        with pytest.raises(ValueError):  # noqa: PT011 - the texts are tested where they are shown
            tree(**changes)


GLOBS = ["**", "t/**", "t/*", "t/*/*", "t/d1_w2*/**", "t/**/file_0000000*", "t/**/*1.dat", "x/**", "t/d1_w1.dir/**/*",
         "t/d*_w*.dir/*", "*", "t/**/d3*/*"]  # fmt: skip


@pytest.mark.parametrize("glob", GLOBS)
@pytest.mark.parametrize("bottom", [True, False])
def test_matching_is_what_trying_each_name_gives(glob, bottom):
    plan = tree(bottom=bottom)
    compiled = compile_glob(glob)
    for names in (plan, plan.directories, numbered("t", "d1_w{}.dat", 30)):
        expected = [index for index in range(names.count) if compiled.matches(names.base + names.name(index))]
        assert list(matching(compiled, names)) == expected


def test_a_literal_is_looked_up():
    names = numbered("t", "o-{:03d}", 10**9)
    assert matching(compile_glob("t/o-12345"), names) == range(12345, 12346)
    assert matching(compile_glob("t/o-12"), names) == range(0)
    assert matching(compile_glob("o-012"), names) == range(0)
    assert isinstance(matching(compile_glob("t/o-0*"), numbered("t", "o-{:03d}", 1000)), np.ndarray)


@pytest.mark.parametrize(
    ("path", "directory", "first"),
    [
        ("new/", False, "new/object-00000003.dat"),
        ("", False, "object-00000003.dat"),
        ("new/x-", False, "new/x-00000003"),
        ("new/x-{:02d}.bin", False, "new/x-03.bin"),
        ("new/%d/x", False, "new/3/x"),
        ("mem://b/new/", True, "mem://b/new/dir-00000003"),
        ("a%%b/{{c}}/", False, "a%b/{c}/object-00000003.dat"),
    ],
)
def test_new_names(path, directory, first):
    base, mask = new_names(path, directory=directory)
    assert base + mask.name(3) == first
    assert not base or base.endswith("/")


def test_count_numbers():
    assert [count_numbers(text) for text in ("", "a", "%d", "{}-%03d", "%%d")] == [0, 0, 1, 2, 0]
