"""DLIO's arguments: one object of a process, with an attribute for each."""


class ConfigArguments:
    _only = None

    def __init__(self):
        self.storage_options = {}

    @classmethod
    def get_instance(cls):
        if cls._only is None:
            cls._only = cls()
        return cls._only


def LoadConfig(args, config):  # noqa: N802
    args.__dict__.update(config.get("storage", {}))
