"""Stores that list and delete wrongly."""

from __future__ import annotations

import fnmatch
import re
import unicodedata

from mutants.plain import Item, Plain, Tree
from penstock.errors import InvalidKeyError, ObjectNotFoundError
from penstock.keys import check_key
from penstock.store import Page


class LastPageLost(Plain):
    def pages(self, entries, page_size):
        return super().pages(entries[: max(page_size, len(entries) - len(entries) % page_size)], page_size)


class FirstPageRepeated(Plain):
    def pages(self, entries, page_size):
        yield from super().pages(entries, page_size)
        if len(entries) > page_size:
            yield self.page(entries[:page_size])


class StopsAtAThousand(Plain):
    def pages(self, entries, page_size):
        return super().pages(entries[:1000], page_size)


class EmptyPage(Plain):
    def pages(self, entries, page_size):
        yield from super().pages(entries, page_size)
        if len(entries) % page_size == 0:
            yield Page([])


class PageOverSize(Plain):
    """Counts objects but not common prefixes."""

    def pages(self, entries, page_size):
        prefixes = [entry for entry in entries if entry[1] is None]
        objects = [entry for entry in entries if entry[1] is not None]
        if not objects and prefixes:
            yield self.page(prefixes)
        for at in range(0, len(objects), page_size):
            yield self.page((prefixes if at == 0 else []) + objects[at : at + page_size])


class PageSizeIgnored(Plain):
    def pages(self, entries, page_size):
        return super().pages(entries, 1000)


class PrefixIsASegment(Plain):
    def below(self, name, prefix):
        return not prefix or name == prefix or name.startswith(prefix.rstrip("/") + "/")


class PrefixIsAGlob(Plain):
    def below(self, name, prefix):
        return fnmatch.fnmatchcase(name, prefix + "*")


class PrefixIsARegularExpression(Plain):
    def below(self, name, prefix):
        try:
            return re.match(prefix, name) is not None
        except re.error:
            return name.startswith(prefix)


class PrefixIgnoresCase(Plain):
    def below(self, name, prefix):
        return name.lower().startswith(prefix.lower())


class PrefixWithoutItsSlash(Plain):
    def below(self, name, prefix):
        return name.startswith(prefix.rstrip("/"))


class StartAfterIsInclusive(Plain):
    def later(self, name, start_after):
        return not start_after or name.encode() >= start_after.encode()


class StartAfterIgnored(Plain):
    def later(self, name, start_after):
        return True


class StartAfterInUtf16(Plain):
    def later(self, name, start_after):
        return not start_after or name.encode("utf-16-be") > start_after.encode("utf-16-be")


class StartAfterSkipsItsPrefix(Plain):
    """Compares the keys below a common prefix with start_after, not what is yielded."""

    def entries(self, prefix, delimiter, start_after):
        kept = [(name, self.info(name, item)) for name, item in list(self.items.items()) if name.startswith(prefix)]
        kept = [entry for entry in kept if not start_after or entry[0].encode() > start_after.encode()]
        return sorted(self.roll(kept, prefix, delimiter), key=lambda entry: self.order(entry[0]))


class DelimiterPrefixRepeated(Plain):
    """Rolls up page by page, so a common prefix comes on each page that holds keys below it."""

    def entries(self, prefix, delimiter, start_after):
        self.rolling = prefix, delimiter
        return super().entries(prefix, "", start_after)

    def page(self, entries):
        prefix, delimiter = self.rolling
        return super().page(self.roll(entries, prefix, delimiter))


class DelimiterIgnored(Plain):
    def roll(self, found, prefix, delimiter):
        return found


class DelimiterFromTheStart(Plain):
    """Cuts at the first delimiter of the key, not the first after the prefix."""

    def roll(self, found, prefix, delimiter):
        return super().roll(found, "", delimiter)


class DelimiterHidesObjects(Plain):
    def roll(self, found, prefix, delimiter):
        rolled = super().roll(found, prefix, delimiter)
        return [entry for entry in rolled if entry[1] is None] or rolled if delimiter else rolled


class PrefixesWithoutTheirSlash(Plain):
    def page(self, entries):
        page = super().page(entries)
        return Page(page.objects, [name.rstrip("/") for name in page.prefixes])


class OrderOfPathSegments(Plain):
    def order(self, name):
        return [segment.encode() for segment in name.split("/")]


class OrderOfUtf16(Plain):
    def order(self, name):
        return name.encode("utf-16-be")


class OrderOfInsertion(Plain):
    def order(self, name):
        return 0


class OrderIgnoresCase(Plain):
    def order(self, name):
        return name.lower().encode()


class ObjectsBeforePrefixes(Plain):
    """Lists objects first and common prefixes on later pages."""

    def entries(self, prefix, delimiter, start_after):
        return sorted(super().entries(prefix, delimiter, start_after), key=lambda entry: entry[1] is None)


class ListsBaseNames(Plain):
    def page(self, entries):
        page = super().page(entries)
        return Page([type(info)(info.key.rpartition("/")[2], info.size) for info in page.objects], page.prefixes)


class ListsSizeZero(Plain):
    def page(self, entries):
        page = super().page(entries)
        return Page([type(info)(info.key, 0) for info in page.objects], page.prefixes)


class PagesByPosition(Plain):
    """Asks for page number n of what is there now, so changes shift it."""

    def list_pages(self, prefix="", /, *, delimiter="", start_after="", page_size=1000):
        position = 0
        while entries := self.entries(prefix, delimiter, start_after)[position : position + page_size]:
            yield self.page(entries)
            position += page_size


class ListsWhileOthersWrite(Plain):
    """Walks the live dictionary without the lock."""

    def entries(self, prefix, delimiter, start_after):
        found = []
        for name in self.items:
            if self.below(name, prefix):
                found.append((name, self.info(name, self.items[name])))
        later = [entry for entry in self.roll(found, prefix, delimiter) if self.later(entry[0], start_after)]
        return sorted(later, key=lambda entry: self.order(entry[0]))


class KeysNormalised(Plain):
    def name(self, key):
        return unicodedata.normalize("NFC", check_key(key))


class SlashesFolded(Plain):
    def name(self, key):
        return re.sub("//+", "/", check_key(key))


class LeadingSlashStripped(Plain):
    def name(self, key):
        return check_key(key).lstrip("/") or key


class TrailingSlashStripped(Plain):
    def name(self, key):
        return check_key(key).rstrip("/") or key


class KeysFoldedToOneCase(Plain):
    def name(self, key):
        return check_key(key).lower()


class KeysTrimmed(Plain):
    def name(self, key):
        return check_key(key).strip()


class DeleteTakesThePrefix(Plain):
    def remove(self, key):
        for name in [name for name in self.items if name.startswith(key)]:
            del self.items[name]


class DeleteTakesTheTree(Plain):
    def remove(self, key):
        for name in [name for name in self.items if name == key or name.startswith(key + "/")]:
            del self.items[name]


class DeleteTakesAGlob(Plain):
    def remove(self, key):
        for name in [name for name in self.items if name == key or fnmatch.fnmatchcase(name, key)]:
            del self.items[name]


class DeleteOfMissingRaises(Plain):
    def remove(self, key):
        del self.items[key]


class DeleteOfMissingIsAFailure(Plain):
    def remove(self, key):
        if key not in self.items:
            raise ObjectNotFoundError("no such object", uri=key, operation="delete")
        super().remove(key)


class DeleteStopsAtTheFirstBatch(Plain):
    def delete(self, keys, /):
        return super().delete(keys[: self.capabilities.delete_batch])


class DeleteDoesNothing(Plain):
    def remove(self, key):
        pass


class DeleteEmptiesInstead(Plain):
    def remove(self, key):
        if key in self.items:
            self.items[key] = Item(b"", self.etag())


class DeleteSwallowsErrors(Tree):
    def delete(self, keys, /):
        super().delete(keys)
        return []


class DeleteRaisesTheFirstError(Tree):
    def delete(self, keys, /):
        failed = super().delete(keys)
        if failed:
            raise failed[0]
        return failed


class DeleteStopsAtAnError(Tree):
    def delete(self, keys, /):
        failed = []
        for key in keys:
            failed = failed or super().delete([key])
        return failed


class DeleteTakesFullDirectories(Tree):
    def remove_directory(self, key):
        for name in [name for name in self.items if name.startswith(key)]:
            del self.items[name]
        self.directories.discard(key)


class DirectoriesVanishWithTheirObjects(Tree):
    def remove(self, key):
        super().remove(key)
        held = {name[: at + 1] for name in self.items for at, letter in enumerate(name) if letter == "/"}
        self.directories &= held


class DirectoriesListedAsObjects(Tree):
    def entries(self, prefix, delimiter, start_after):
        found = super().entries(prefix, delimiter, start_after)
        if delimiter:
            return found
        extra = [(name, self.info(name, Item(b"", None))) for name in self.directories if name.startswith(prefix)]
        return sorted([*found, *extra], key=lambda entry: self.order(entry[0]))


class EmptyDirectoriesHidden(Tree):
    def roll(self, found, prefix, delimiter):
        return Plain.roll(self, found, prefix, delimiter)


class DirectoryReadAsAnObject(Tree):
    def find(self, key, operation):
        if f"{key}/" in self.directories:
            return Item(b"", None)
        return super().find(key, operation)


class EscapesTheRoot(Tree):
    def name(self, key):
        return check_key(key)

    def writer(self, key, part_size):
        return Plain.writer(self, check_key(key), part_size)

    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        try:
            return super().put(key, data, create=create, if_match=if_match, metadata=metadata)
        except InvalidKeyError:
            check_key(key)
            return Plain.put(self, key, data)
