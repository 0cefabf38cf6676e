"""DLIO's interface of a storage."""

from abc import ABC, abstractmethod

from dlio_benchmark.utils.config import ConfigArguments


class Namespace:
    def __init__(self, name, type):
        self.name, self.type = name, type


class DataStorage(ABC):
    def __init__(self, framework=None):
        self._args = ConfigArguments.get_instance()
        self.framework = framework

    @abstractmethod
    def get_uri(self, id): ...

    @abstractmethod
    def create_namespace(self, exist_ok=False): ...

    @abstractmethod
    def get_namespace(self): ...

    @abstractmethod
    def create_node(self, id, exist_ok=False): ...

    @abstractmethod
    def get_node(self, id): ...

    @abstractmethod
    def walk_node(self, id, use_pattern=False): ...

    @abstractmethod
    def delete_node(self, id): ...

    def islocalfs(self):
        return False
