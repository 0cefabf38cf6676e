"""What the test servers do otherwise than S3: the one place where it is said.

A fault has a name, what happens, and the tests of the kit that can't be run because of it, by their names as pytest
prints them. Those are left out on that server alone, and the session's summary says so. Keys that a server can't
hold are left out of the lists of keys instead, and the rest of those laws is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

__all__ = ["FAULTS", "Fault", "left_out"]


@attrs.frozen
class Fault:
    """``costs`` names the tests that are left out; ``instead``: how the other laws are kept all the same."""

    what: str
    costs: tuple[str, ...] = ()
    instead: str = ""


FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "SeaweedFS": {
        "order": Fault(
            "listings come directory by directory, not in the order of the keys' bytes",
            instead="the store is taken for one that does not claim the order",
        ),
        "start-after": Fault(
            "start-after=a leaves out a/b, for it is compared with names in a directory, not with keys",
            instead="the test applies start_after to whole listings itself",
        ),
        "slashes": Fault(
            "slashes in a row, and at the start of a key, are taken for one; listings make keys up for such prefixes",
            costs=("test_prefix_is_a_string[/a-expected11]", "test_prefix_is_a_string[a//b-expected23]"),
            instead="no such keys",
        ),
        "backslash": Fault("a backslash in a prefix is taken for a slash", instead="no such keys"),
        "long names": Fault("a segment of a key has at most 255 bytes", instead="no such keys"),
        "directories": Fault(
            "keys are paths of files: a can't be created beside a/b",
            instead="in random histories no key is the path of another's directory",
        ),
        "phantom prefixes": Fault(
            "a prefix whose objects were all deleted stays in listings, as a common prefix or as an object",
            costs=("test_directories_outlive_their_objects",),
            instead="in random histories what is empty is passed over",
        ),
        "full buckets": Fault(
            "as it comes it deletes a bucket with all the objects in it",
            instead="it is started with -s3.allowDeleteBucketNotEmpty=false; penstock rb looks for objects first",
        ),
        "x-amz-content-sha256": Fault(
            "the sum that was signed is not compared with the body: another body is stored",
            instead="the signer's tests compare its sums with hashlib's",
        ),
        "max-keys": Fault(
            "a page with a delimiter may hold more entries than max-keys",
            instead="in random histories the test cuts pages itself",
        ),
        "markers": Fault(
            "the bytes of dir/ are lost when dir/inside is put",
            costs=("test_markers_hold_bytes_without_directories",),
            instead="no keys that end in a slash but in tests of just that",
        ),
    },
    "moto": {
        "locks": Fault(
            "it has no locks: requests at the same time answer 500, and conditional puts both succeed",
            instead="its requests are run one at a time",
        ),
        "signatures": Fault("it checks no signature", instead="tests of refused credentials are SeaweedFS's"),
        "line feeds": Fault("a key with a line feed is answered 404", instead="no such keys"),
    },
    "Ceph": {
        "If-Match": Fault(
            "a put with If-Match is refused also with the right etag; a get with it is answered whatever the etag is",
            costs=("test_if_match", "test_one_of_many_replacements_wins"),
            instead="random histories replace nothing by etag; of gets the store checks the etag itself",
        ),
        "create": Fault(
            "the completion of an upload ignores If-None-Match",
            costs=(
                "test_create_keeps_what_has_the_key[2]",
                "test_create_keeps_what_came_after_the_opening[put-2]",
                "test_create_keeps_what_came_after_the_opening[writer-2]",
            ),
            instead="put and writers that send one request are tested",
        ),
    },
}


def left_out(server: str, test: str) -> bool:
    """Whether a test can't be run on a server."""
    return any(test in fault.costs for fault in FAULTS.get(server, {}).values())
