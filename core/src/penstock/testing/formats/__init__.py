"""The conformance kit for formats: what a format promises, as tests to inherit.

A format's whole test file::

    class TestAcme(FormatContract):
        files = st.lists(st.fixed_dictionaries({"x": arrays(...), "name": st.text()}))

        @pytest.fixture
        def format(self):
            return choose_format("", "acme")

``files`` draws lists of samples that one file can hold, in the form in which they come back: what a format turns into
something else, such as a Python number into an array, is for tests of its own. The laws:

1. Samples come back as they were: type, byte order, shape, every bit, and in order. Encoding the same samples gives
   the same bytes; samples are taken from any iterable, and what it raises comes through.
2. What a format can't hold is a FormatError, never a pickle.
3. A reader gives the samples that decoding gives, by any numbers in any order, and says truly how many there are,
   what is in them and what they take. It asks for nothing outside the file; what a store raises comes through.
4. A file that was cut or changed is a FormatError where the format has a check, and elsewhere a FormatError or
   samples: never another exception, never a hang, never memory for a length that the bytes merely claim.
5. Synthetic samples hold as many bytes as asked, of the fill's making; a file's length depends on their number alone.
6. Nothing is held: not the file's bytes after the last sample, not a sample after it was encoded, not the file after
   ``close``; samples outlive their reader.
7. An index gives the same samples as none, and opening with it reads nothing but what says where samples are.
8. Any thread may call anything at any time.

What a class may choose besides:

- ``checked``: which bytes of a file a flipped bit is found in; by default none
- ``whole_prefixes``: where a file may be cut and be a file still; by default nowhere
- ``refused``: files of samples that the format can't hold
- ``cases``: how many files are drawn for each law, the same ones in every run
- ``places``: at how many places of a file damage is tried
- ``slack``: how many bytes beyond a sample's own reading it may take, and how many opening may
- ``compressed``: True where the options ask for compression, so that the length depends on the content
- ``ordinary``: one file of middle size, for what needs an example; by default synthetic samples
"""

from __future__ import annotations

from penstock.testing.formats.contract import FormatContract

__all__ = ["FormatContract"]
