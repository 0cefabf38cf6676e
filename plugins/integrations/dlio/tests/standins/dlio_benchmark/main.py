"""DLIO's command: it says which storage it was given."""

import sys

from dlio_benchmark.storage.storage_factory import StorageFactory


def main():
    print(type(StorageFactory.get_storage("local_fs", "/data")).__name__, *sys.argv[1:])
