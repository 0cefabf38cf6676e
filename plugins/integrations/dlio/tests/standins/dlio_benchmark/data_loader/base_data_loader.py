"""DLIO's interface of a data loader."""

from abc import ABC, abstractmethod

from dlio_benchmark.common.enumerations import DatasetType
from dlio_benchmark.utils.config import ConfigArguments


class BaseDataLoader(ABC):
    def __init__(self, format_type, dataset_type, epoch_number, data_loader_type):
        self._args = ConfigArguments.get_instance()
        self.dataset_type, self.format_type = dataset_type, format_type
        self.epoch_number, self.data_loader_type = epoch_number, data_loader_type
        training = dataset_type is DatasetType.TRAIN
        self.num_samples = self._args.total_samples_train if training else self._args.total_samples_eval
        self.batch_size = self._args.batch_size if training else self._args.batch_size_eval

    @abstractmethod
    def read(self): ...

    @abstractmethod
    def next(self): ...

    @abstractmethod
    def finalize(self): ...
