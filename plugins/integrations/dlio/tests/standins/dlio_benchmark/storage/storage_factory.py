"""DLIO's factory: it knows its own kinds and no others."""


class StorageFactory:
    @staticmethod
    def get_storage(storage_type, namespace, framework=None):
        return ("dlio's own", storage_type, namespace)
