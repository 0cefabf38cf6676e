"""fsspec's own tests of a file system, on each kind of store."""

from __future__ import annotations

import pytest
from fsspec.tests import abstract


class _OnMemory(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, mem):
        return mem.fs

    @pytest.fixture
    def fs_path(self, mem):
        return mem.path

    @pytest.fixture
    def supports_empty_directories(self):
        return False


class _OnFiles(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, files):
        return files.fs

    @pytest.fixture
    def fs_path(self, files):
        return files.path


class _OnS3(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, s3):
        return s3.fs

    @pytest.fixture
    def fs_path(self, s3):
        return s3.path

    @pytest.fixture
    def supports_empty_directories(self):
        return False


class TestCopyOnMemory(_OnMemory, abstract.AbstractCopyTests): ...


class TestGetOnMemory(_OnMemory, abstract.AbstractGetTests): ...


class TestPutOnMemory(_OnMemory, abstract.AbstractPutTests): ...


class TestOpenOnMemory(_OnMemory, abstract.AbstractOpenTests): ...


class TestPipeOnMemory(_OnMemory, abstract.AbstractPipeTests): ...


class TestCopyOnFiles(_OnFiles, abstract.AbstractCopyTests): ...


class TestGetOnFiles(_OnFiles, abstract.AbstractGetTests): ...


class TestPutOnFiles(_OnFiles, abstract.AbstractPutTests): ...


class TestOpenOnFiles(_OnFiles, abstract.AbstractOpenTests): ...


class TestPipeOnFiles(_OnFiles, abstract.AbstractPipeTests): ...


class TestOpenOnS3(_OnS3, abstract.AbstractOpenTests): ...


class TestPipeOnS3(_OnS3, abstract.AbstractPipeTests): ...


@pytest.mark.slow
class TestCopyOnS3(_OnS3, abstract.AbstractCopyTests): ...


@pytest.mark.slow
class TestGetOnS3(_OnS3, abstract.AbstractGetTests): ...


@pytest.mark.slow
class TestPutOnS3(_OnS3, abstract.AbstractPutTests): ...
