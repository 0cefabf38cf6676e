"""The storage commands, as a user types them."""

import hashlib
import json
import os
import re

import attrs
import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import main
from penstock.errors import AccessDeniedError
from penstock.memory import MemoryStore


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args, code=0, **options):
    done = CliRunner().invoke(main, args, **options)
    assert done.exit_code == code, done.output
    return done


def fill(*names, base=""):
    for name in names:
        penstock.put(base + name, name.encode())


def files(top="."):
    return sorted(
        os.path.relpath(os.path.join(directory, name), top) for directory, _, names in os.walk(top) for name in names
    )


@pytest.fixture
def mem(request):
    """The URI of a store of the test's own that only has keys."""
    base = f"mem://{re.sub(r'[^a-z0-9]', '-', request.node.name.lower())}/"
    yield base
    penstock.delete_prefix(base)


def test_ls_shows_the_next_level(mem):
    fill("a", "d/b", "d/e/c", base=mem)
    assert run("ls", mem).stdout.split() == [f"{mem}a", f"{mem}d/"]
    assert run("ls", f"{mem}d").stdout.split() == [f"{mem}d/b", f"{mem}d/e/"]
    assert run("ls", "-r", f"{mem}d/").stdout.split() == [f"{mem}d/b", f"{mem}d/e/c"]
    assert run("ls", f"{mem}a").stdout.split() == [f"{mem}a"]
    assert run("ls", f"{mem}**/c").stdout.split() == [f"{mem}d/e/c"]
    assert run("ls", f"{mem}*").stdout.split() == [f"{mem}a", f"{mem}d/"]
    assert run("ls", "-r", "--regex", ".*/[bc]", mem).stdout.split() == [f"{mem}d/b", f"{mem}d/e/c"]
    run("ls", f"{mem}nope", code=1)
    run("ls", f"{mem}nope*", code=1)


def test_ls_of_files(here):
    fill("d/a")
    (here / "empty").mkdir()
    assert run("ls").stdout.split() == ["file://./d/", "file://./empty/"]
    assert run("ls", "empty").stdout == ""
    assert run("ls", str(here / "d")).stdout.split() == [f"file://{here}/d/a"]


def test_ls_long_and_json(mem):
    penstock.put(f"{mem}a", bytes(1536), metadata={"m": "1"})
    fill("d/b", base=mem)
    assert re.match(r" +1\.50 KiB  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  mem://", run("ls", "-l", mem).stdout)
    assert run("ls", "-l", "--bytes", mem).stdout.split()[0] == "1536"
    first, second = map(json.loads, run("ls", "--json", mem).stdout.splitlines())
    assert first["uri"] == f"{mem}a"
    assert first["size"] == 1536
    assert first["metadata"] == {"m": "1"}
    assert second == {"prefix": f"{mem}d/"}


def test_counting(mem):
    fill("a", "d/bb", "d/e/ccc", base=mem)
    assert run("ls", "-rc", mem).stdout.startswith("3 objects, 12 B (12 bytes); ")
    assert run("ls", "-c", mem).stdout.startswith("1 object, 1 B (1 bytes), 1 prefix; ")
    facts = json.loads(run("count", "--json", f"{mem}d").stdout)
    assert (facts["objects"], facts["bytes"]) == (2, 11)
    run("count", f"{mem}nope/", code=1)


def test_du(mem):
    fill("a", "d/bb", "d/e/ccc", "d/e/f/g", base=mem)
    rows = [line.split() for line in run("du", "--bytes", "-d", "2", mem).stdout.splitlines()[1:]]
    assert rows == [["18", "3", f"{mem}d/"], ["14", "2", f"{mem}d/e/"], ["19", "4", mem]]
    assert [row["uri"] for row in json.loads(run("du", "-s", "--json", mem).stdout)] == [mem]
    assert run("du", "--bytes", f"{mem}d/bb").stdout.split()[-3:] == ["4", "1", f"{mem}d/bb"]
    run("du", f"{mem}nope", code=1)


def test_stat(mem):
    penstock.put(f"{mem}a", b"12345", content_type="text/plain", metadata={"who": "me"})
    text = run("stat", f"{mem}a").stdout
    assert re.search(r"size +5 \(5 B\)", text)
    assert re.search(r"content type +text/plain", text)
    assert re.search(r"metadata who +me", text)
    assert json.loads(run("stat", "--json", f"{mem}a").stdout)["size"] == 5
    run("stat", f"{mem}b", code=1)


def test_cat_and_get(mem, here):
    fill("a", "b", base=mem)
    assert run("cat", f"{mem}a", f"{mem}b").stdout == "ab"
    assert run("get", f"{mem}a", "-").stdout == "a"
    assert run("cat", "--offset", "1", "--length", "1KiB", f"{mem}a").stdout == ""
    run("get", f"{mem}a")
    run("get", f"{mem}a", "renamed")
    run("get", f"{mem}*", "both/")
    assert files() == ["a", "both/a", "both/b", "renamed"]
    run("cat", f"{mem}*", code=2)


@pytest.mark.parametrize("command", [["cat"], ["get"], ["cp"], ["rm"], ["stat"]])
def test_a_directory_in_place_of_an_object_gives_the_remedy(mem, here, command):
    fill("d/a", base=mem)
    fill("d/a")
    for uri in (f"{mem}d", "d"):
        more = ["out"] if command == ["cp"] else []
        done = run(*command, uri, *more, code=1)
        assert re.search(r"use (download|-r|rm -r)|list it with ls", done.stderr)
    assert files() == ["d/a"]
    assert penstock.exists(f"{mem}d/a")


def test_put_of_a_file(mem, here):
    (here / "in").write_bytes(b"123")
    run("put", "in", f"{mem}a")
    run("put", "in", f"{mem}d/")
    run("put", "in", f"{mem}m", "-m", "who=me", "--content-type", "text/x", "--if-absent")
    run("put", "in", f"{mem}m", "--if-absent", code=1)
    run("put", "-", f"{mem}s", input=b"from a pipe")
    run("put", "-", f"{mem}t", "-m", "who=me", "--content-type", "text/x", "--if-absent", input=b"from a pipe")
    run("put", "-", f"{mem}t", "--if-absent", input=b"too late", code=1)
    piped = penstock.stat(f"{mem}t")
    assert (piped.size, piped.metadata, piped.content_type) == (11, {"who": "me"}, "text/x")
    assert [info.key.removeprefix(mem) for info in penstock.list(mem)] == ["a", "d/in", "m", "s", "t"]
    assert penstock.stat(f"{mem}m").metadata == {"who": "me"}
    assert penstock.get(f"{mem}s") == b"from a pipe"
    run("put", mem, code=2)
    run("put", "in", mem, "-n", "2", code=2)
    run("put", "in", f"{mem}*", code=2)


def test_generated_objects_all_differ(mem):
    run("put", "-n", "20", "-s", "8KiB", f"{mem}x/")
    bodies = {info.key: bytes(penstock.get(info.key)) for info in penstock.list(mem)}
    assert sorted(bodies)[0] == f"{mem}x/object_0_of_20.dat"
    blocks = {hashlib.sha256(body[at : at + 4096]).digest() for body in bodies.values() for at in (0, 4096)}
    assert len(blocks) == 40, "no two blocks are equal"
    run("put", "-n", "1", "-s", "8KiB", f"{mem}y/")
    assert bytes(penstock.get(f"{mem}y/object_0_of_1.dat")) not in bodies.values(), "another run, other bytes"


def test_generated_objects_can_be_made_again_in_any_way(mem, monkeypatch):
    run("put", "-s", "1MiB", "--seed", "7", "-t", "a{}", mem)
    monkeypatch.setattr("penstock.cli.generated._WHOLE", 1000)
    monkeypatch.setattr("penstock.cli.generated._PART", 65536 + 4096)
    run("put", "-s", "1MiB", "--seed", "7", "-t", "b{}", "-m", "who=me", "--if-absent", mem)
    assert penstock.get(f"{mem}a0") == penstock.get(f"{mem}b0")
    assert penstock.stat(f"{mem}b0").metadata == {"who": "me"}
    run("put", "-s", "1MiB", "--seed", "8", "-t", "b{}", "--if-absent", mem, code=1)
    assert penstock.get(f"{mem}a0") == penstock.get(f"{mem}b0")


def test_names_of_generated_objects(mem):
    run("put", "-n", "2", "-s", "1", "-t", "same", mem, code=2)
    run("put", "-n", "2", "-s", "1", "-t", "{}{}{}", mem, code=2)
    run("put", "-n", "1", "-s", "1", "-t", "only", mem)
    run("put", "-s", "1K", mem, code=2)
    run("put", "-s", "1", "-o", "NOSUCH", mem, code=1)
    assert [info.key for info in penstock.list(mem)] == [f"{mem}only"]


def test_a_file_does_not_take_its_neighbour_along(mem, here):
    fill("data.csv", "data.csv.bak", "d/data.csv")
    run("upload", "data.csv", f"{mem}in/")
    run("upload", "d", "*.csv", f"{mem}tree")
    assert [info.key.removeprefix(mem) for info in penstock.list(mem)] == ["in/data.csv", "tree/data.csv"]


def test_upload_and_download_keep_the_tree(mem, here):
    fill("src/a", "src/d/b", "src/d/e/c")
    run("upload", "src", f"{mem}t")
    run("download", f"{mem}t", "out")
    assert files("out") == ["a", "d/b", "d/e/c"]
    assert "3 up to date" in run("download", "--resume", f"{mem}t", "out").stderr
    run("upload", "--sync", "--resume", "src", f"{mem}t", code=2)
    text = run("download", "--dry-run", f"{mem}t/*", "other").stdout
    assert text == f"{mem}t/a -> file://./other/a\n"
    assert not os.path.exists("other")


def test_some_that_fail_are_listed_and_the_code_is_1(mem):
    for name in ("ok", "a//b", "../evil"):
        penstock.put(f"{mem}t/{name}", b"1")
    done = run("download", f"{mem}t/", "out", code=1)
    assert files("out") == ["ok"]
    assert not os.path.exists("evil")
    assert f"{mem}t/a//b" in done.stderr
    assert "2 could not be downloaded" in done.stderr
    report = json.loads(run("download", "--json", f"{mem}t/", "out", code=1).stdout)
    assert len(report["failures"]) == 2
    assert report["objects"] == 1


def test_cp_and_mv(mem, here):
    fill("a", "d/b")
    run("cp", "a", f"{mem}x")
    run("cp", "-r", "d", f"{mem}dd")
    run("mv", f"{mem}x", f"{mem}y")
    run("mv", "--dry-run", "-r", f"{mem}dd", "back")
    assert [info.key.removeprefix(mem) for info in penstock.list(mem)] == ["dd/b", "y"]
    run("mv", "-r", f"{mem}dd", "back")
    assert files() == ["a", "back/b", "d/b"]
    assert [info.key.removeprefix(mem) for info in penstock.list(mem)] == ["y"]
    run("cp", "a", code=2)
    run("mv", "a", "a", code=2)
    run("cp", "a", f"{mem}*", code=2)
    assert files() == ["a", "back/b", "d/b"]


def test_a_whole_store_is_moved_or_removed_only_when_meant(mem):
    fill("a", "b", base=mem)
    for args in (["rm", "-r", mem], ["rm", f"{mem}**"], ["mv", "-r", mem, "out"]):
        assert "--yes" in run(*args, code=2).stderr
    assert penstock.count(mem).objects == 2
    run("rm", "-r", "--dry-run", mem)
    assert penstock.count(mem).objects == 2
    run("rm", "-r", "--yes", mem)
    assert penstock.count(mem).objects == 0


def test_rm_takes_exactly_what_was_named(mem):
    fill("logs/a1", "logs/a2", "logs/b", "logs/a3/x", "logs-old/a", "my-logs/a", "logs.txt", base=mem)
    assert "2 objects" in run("rm", f"{mem}logs/a*").stderr
    assert "logs/a3/x" in run("ls", "-r", mem).stdout
    run("rm", f"{mem}logs", code=1)
    run("rm", f"{mem}log", code=1)
    run("rm", "-f", f"{mem}log")
    assert penstock.count(mem).objects == 5
    assert f"{mem}logs/b\n" in run("rm", "-r", "--dry-run", f"{mem}logs").stdout
    run("rm", "-r", f"{mem}logs")
    left = [info.key.removeprefix(mem) for info in penstock.list(mem)]
    assert left == ["logs-old/a", "logs.txt", "my-logs/a"]
    run("rm", f"{mem}logs.txt")
    assert penstock.count(mem).objects == 2


def test_rm_of_files_takes_directories_only_with_r(here):
    fill("d/a", "d/e/b", "da")
    (here / "d/empty").mkdir()
    run("rm", "d", code=1)
    run("rm", "d/", code=2)
    assert files() == ["d/a", "d/e/b", "da"]
    run("rm", "-r", "d")
    assert os.listdir(here) == ["da"]


def test_rm_reports_each_key_that_stayed(mem, monkeypatch):
    fill("a", "b", "c", base=mem)
    inner = MemoryStore.delete

    def delete(self, keys):
        inner(self, [key for key in keys if key != "b"])
        return [AccessDeniedError("no", uri=f"{mem}b", operation="delete")] if "b" in keys else []

    monkeypatch.setattr(MemoryStore, "delete", delete)
    done = run("rm", f"{mem}*", code=1)
    assert f"{mem}b" in done.stderr
    assert "removed 2 objects" in done.stderr
    assert "1 could not be removed" in done.stderr
    monkeypatch.setattr(MemoryStore, "delete", inner)


def test_stars_in_names_are_written_in_brackets(mem):
    fill("a*", "ab", base=mem)
    run("rm", f"{mem}a[*]")
    assert [info.key.removeprefix(mem) for info in penstock.list(mem)] == ["ab"]


def test_directories(here, mem):
    run("mkdir", "d/e")
    assert (here / "d/e").is_dir()
    assert "not empty" in run("rmdir", "d", code=1).stderr
    run("rmdir", "d/e")
    run("mkdir", "d/e")
    run("rmdir", "--recursive", "d")
    assert os.listdir(here) == []
    run("mkdir", f"{mem}m")
    assert penstock.exists(f"{mem}m/")
    run("rmdir", f"{mem}m")
    assert not penstock.exists(f"{mem}m/")


def test_options_reach_the_stores_that_have_them(mem):
    fill("a", base=mem)
    run("cp", "-O", "fsync=yes", f"{mem}a", "out")
    assert files() == ["out"]
    run("cp", "-O", "fsnc=yes", f"{mem}a", "out", code=2)
    run("cp", "-O", "fsync=perhaps", f"{mem}a", "out", code=2)


def test_plugins_are_listed_with_what_they_are():
    rows = {row["name"]: row for row in json.loads(run("plugins", "--json").stdout)}
    assert rows["mem"]["group"] == "stores"
    assert rows["mem"]["distribution"] == "penstock"
    assert rows["mem"]["capabilities"]["if_match"] is True
    assert rows["random"]["group"] == "payloads"
    text = CliRunner().invoke(main, ["plugins"]).stdout
    assert re.search(r"^file +stores +penstock-file +\S+ +1 +local files", text, re.MULTILINE)


def test_a_plugin_is_shown_with_its_options(monkeypatch):
    from penstock.options import option

    @attrs.frozen(kw_only=True)
    class Options:
        plain: int = option(4, help="a number", env="TEST_PLAIN")
        password: str = option("", help="never shown", env="TEST_PASSWORD", secret=True)

    from penstock.plugins import default_host

    kind = attrs.evolve(default_host().store_type("mem"), options=Options)
    monkeypatch.setitem(default_host()._kinds, ("penstock.stores", "mem"), kind)
    monkeypatch.setenv("TEST_PLAIN", "5")
    monkeypatch.setenv("TEST_PASSWORD", "hunter2")
    text = run("plugins", "show", "mem").stdout
    assert re.search(r"plain +int +4 +TEST_PLAIN +5 +\$TEST_PLAIN", text)
    assert re.search(r"password .* set +\$TEST_PASSWORD", text)
    assert re.search(r"if_match +yes", text)
    facts = run("plugins", "show", "mem", "--json").stdout
    assert json.loads(facts)["options"][0]["value"] == "5"
    assert "hunter2" not in text + facts
