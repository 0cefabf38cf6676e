"""PluginHost: what is found, what is loaded when, and what is said of plugins that fail."""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import Distribution, EntryPoint, PathDistribution
from pathlib import Path

import pytest

from penstock.errors import PluginError, UnknownSchemeError
from penstock.plugins import PACKAGES, PluginHost, default_host

STORE = """
    import attrs
    from penstock.hookspecs import hookimpl
    from penstock.store import StoreType

    @attrs.frozen
    class Options:
        pass

    @hookimpl
    def penstock_store_types():
        return [StoreType(schemes={schemes!r}, summary="s", options=Options, parse=None, open=None, api={api})]
"""
FORMAT = """
    from penstock.hookspecs import hookimpl
    from penstock.formats import FormatType

    @hookimpl
    def penstock_format_types():
        return [FormatType(name={name!r}, summary="s", extensions=(".x",), options=object, open=None)]
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A directory on the path in which plugins are made; their modules are forgotten at the end."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]


class Site:
    def __init__(self, root: Path) -> None:
        self.root = root

    def module(self, name: str, source: str, /, **values: object) -> None:
        (self.root / f"{name}.py").write_text(textwrap.dedent(source).format(**values))

    def store(self, name: str, *schemes: str, api: int = 1) -> None:
        self.module(name, STORE, schemes=schemes, api=api)

    def distribution(self, name: str, version: str = "1.0") -> Distribution:
        info = self.root / f"{name}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        return PathDistribution(info)

    def entry(self, name: str, value: str, dist: str = "acme", group: str = "penstock.stores") -> EntryPoint:
        return EntryPoint(name, value, group)._for(self.distribution(dist))


def host(*entries: EntryPoint, disabled: tuple[str, ...] = ()) -> PluginHost:
    return PluginHost(entries=entries, disabled=disabled)


def test_a_plugin_is_imported_when_it_is_needed_and_no_other_is(site):
    site.store("fake_one", "one")
    site.store("fake_two", "two")
    made = host(site.entry("one", "fake_one"), site.entry("two", "fake_two"))
    assert made.names("penstock.stores") == ("one", "two")
    assert not {"fake_one", "fake_two"} & set(sys.modules)
    assert made.store_type("one").schemes == ("one",)
    assert "fake_one" in sys.modules
    assert "fake_two" not in sys.modules


def test_a_type_is_loaded_once(site):
    site.store("fake_one", "one")
    made = host(site.entry("one", "fake_one"))
    assert made.store_type("one") is made.store_type("one")


def test_aliases_of_one_module_give_the_same_type(site):
    site.store("fake_gs", "gs2", "gcs2")
    made = host(site.entry("gs2", "fake_gs"), site.entry("gcs2", "fake_gs"))
    assert made.store_type("gcs2").schemes[0] == "gs2"
    assert made.store_type("gs2").schemes == made.store_type("gcs2").schemes


def test_a_variant_scheme_is_the_entry_with_a_dot(site):
    site.store("fake_crt", "one+crt")
    made = host(site.entry("one.crt", "fake_crt"))
    assert made.store_type("one+crt").schemes == ("one+crt",)
    with pytest.raises(UnknownSchemeError, match=r"installed: one\+crt://"):
        made.store_type("one")


def test_a_name_with_a_dot_of_another_group_is_found_as_written(site):
    site.module("fake_format", FORMAT, name="tar.gz")
    made = host(site.entry("tar.gz", "fake_format", group="penstock.formats"))
    assert made.format_type("tar.gz").name == "tar.gz"


class TestUnknown:
    def test_the_schemes_that_are_installed_are_named(self, site):
        with pytest.raises(UnknownSchemeError, match="unknown scheme foo://; installed: one://, two://"):
            host(site.entry("two", "x"), site.entry("one", "y")).store_type("foo")

    def test_nothing_installed(self):
        with pytest.raises(UnknownSchemeError, match="installed: none"):
            host().store_type("foo")

    @pytest.mark.parametrize(("scheme", "package"), PACKAGES.items())
    def test_the_package_to_install_is_named(self, scheme, package):
        with pytest.raises(UnknownSchemeError, match=f"pip install {package}$"):
            host().store_type(scheme)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_url_is_no_store(self, scheme):
        for authority in ("example.com", "h:9000"):
            with pytest.raises(UnknownSchemeError, match=rf"URLs are no stores.* s3\+{scheme}://") as caught:
                host().store_type(scheme, authority)
            assert "pip install" not in str(caught.value)

    def test_the_urls_of_azure_s_hosts_are(self):
        with pytest.raises(UnknownSchemeError, match=r"pip install penstock-azure$"):
            host().store_type("https", "acme.blob.core.windows.net")

    def test_the_package_of_a_variant_is_named(self):
        with pytest.raises(UnknownSchemeError, match=r"pip install penstock-s3$"):
            host().store_type("s3+https")

    @pytest.mark.parametrize("noun", ["format", "payload", "launcher", "command"])
    def test_other_groups_name_the_nearest(self, site, noun):
        made = host(site.entry("tfrecord", "x", group=f"penstock.{noun}s"))
        look_up = getattr(made, "command" if noun == "command" else f"{noun}_type")
        with pytest.raises(PluginError, match=f"no {noun} named tfrecords; did you mean tfrecord?"):
            look_up("tfrecords")


class TestDisabled:
    def test_it_counts_as_not_installed_and_the_reason_is_given(self, site):
        site.store("fake_one", "one")
        made = host(site.entry("one", "fake_one"), disabled=("one",))
        assert made.names("penstock.stores") == ()
        with pytest.raises(UnknownSchemeError, match="one is disabled by PENSTOCK_DISABLE_PLUGINS"):
            made.store_type("one")
        assert "fake_one" not in sys.modules

    def test_a_variant_is_disabled_as_it_is_typed(self, site):
        site.store("fake_crt", "one+crt")
        made = host(site.entry("one.crt", "fake_crt"), disabled=("one+crt",))
        with pytest.raises(UnknownSchemeError, match="disabled"):
            made.store_type("one+crt")

    def test_the_variable_holds_names_between_commas(self, site, monkeypatch):
        monkeypatch.setenv("PENSTOCK_DISABLE_PLUGINS", " one ,two,")
        made = PluginHost(entries=[site.entry(name, "x") for name in ("one", "two", "three")])
        assert made.names("penstock.stores") == ("three",)

    def test_other_groups_say_so_too(self, site):
        made = host(site.entry("npz", "x", group="penstock.formats"), disabled=("npz",))
        with pytest.raises(PluginError, match="disabled by PENSTOCK_DISABLE_PLUGINS"):
            made.format_type("npz")

    def test_the_record_says_so(self, site):
        (record,) = host(site.entry("one", "x"), disabled=("one",)).records()
        assert (record.kind, record.problem) == (None, "disabled by PENSTOCK_DISABLE_PLUGINS")


BROKEN = {
    "import": ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
    "raises": ("raise RuntimeError('what now')", "RuntimeError: what now"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "syntax": ("def", "SyntaxError"),
    "no hook": ("", "penstock_store_types offers nothing named one"),
    "another name": (STORE.format(schemes=("two",), api=1), "penstock_store_types offers nothing named one"),
    "newer contract": (STORE.format(schemes=("one",), api=99), "needs contract 99, this penstock has 1: update"),
    "misspelt hook": (STORE.format(schemes=("one",), api=1).replace("store_types", "stores_types"), "stores_types"),
    "hook fails": (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_store_types():\n    raise KeyError('oh')",
        "KeyError: 'oh'",
    ),
    "hook wants more": (
        "from penstock.hookspecs import hookimpl\n@hookimpl\ndef penstock_store_types(more):\n    return ()",
        "PluginValidationError",
    ),
}


@pytest.mark.parametrize(("source", "cause"), BROKEN.values(), ids=BROKEN)
class TestBroken:
    @pytest.fixture
    def made(self, site, source):
        (site.root / "fake_bad.py").write_text(textwrap.dedent(source))
        site.store("fake_good", "good")
        return host(site.entry("one", "fake_bad", "acme-bad"), site.entry("good", "fake_good", "acme-good"))

    def test_it_is_named_with_distribution_version_and_cause(self, made, cause):
        with pytest.raises(PluginError) as caught:
            made.store_type("one")
        assert str(caught.value).startswith("one: the plugin acme-bad 1.0 (fake_bad) can't be loaded: ")
        assert cause in str(caught.value)

    def test_it_harms_no_other(self, made, cause):
        with pytest.raises(PluginError):
            made.store_type("one")
        assert made.store_type("good").schemes == ("good",)

    def test_it_stays_broken(self, made, cause):
        for _ in range(2):
            with pytest.raises(PluginError, match="can't be loaded"):
                made.store_type("one")

    def test_its_record_holds_the_cause(self, made, cause):
        good, bad = made.records()
        assert (good.distribution, good.version, good.problem) == ("acme-good", "1.0", "")
        assert good.kind.schemes == ("good",)
        assert (bad.name, bad.distribution, bad.kind) == ("one", "acme-bad", None)
        assert cause in bad.problem


class TestClash:
    @pytest.fixture
    def made(self, site):
        site.store("fake_a", "one")
        site.store("fake_b", "one")
        return host(site.entry("one", "fake_a", "acme-a"), site.entry("one", "fake_b", "acme-b"))

    def test_both_distributions_are_named(self, made):
        with pytest.raises(PluginError) as caught:
            made.store_type("one")
        text = str(caught.value)
        assert "acme-a 1.0 (fake_a) and acme-b 1.0 (fake_b) both offer one" in text
        assert "uninstall one" in text

    def test_each_has_a_record(self, made):
        records = made.records()
        assert [record.distribution for record in records] == ["acme-a", "acme-b"]
        assert all("both offer one" in record.problem for record in records)

    def test_one_distribution_seen_twice_is_no_clash(self, site):
        site.store("fake_a", "one")
        made = host(site.entry("one", "fake_a", "acme-a"), site.entry("one", "fake_a", "acme-a"))
        assert made.store_type("one")
        assert len(made.records()) == 1


def test_an_optional_hook_of_a_later_penstock_is_let_be(site):
    extra = "\n@hookimpl(optionalhook=True)\ndef penstock_of_tomorrow():\n    return ()\n"
    (site.root / "fake_late.py").write_text(textwrap.dedent(STORE).format(schemes=("one",), api=1) + extra)
    assert host(site.entry("one", "fake_late")).store_type("one")


def test_the_environments_own_host_knows_the_store_of_core():
    assert "mem" in default_host().names("penstock.stores")
    assert default_host().store_type("mem").schemes == ("mem",)
    assert default_host() is default_host()


def test_an_entry_without_a_distribution_can_be_listed():
    (record,) = host(EntryPoint("one", "no_such_module_anywhere", "penstock.stores")).records()
    assert record.distribution == "unknown distribution"
    assert "No module named" in record.problem
