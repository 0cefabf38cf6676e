"""DLIO's interface of a reader, and what its base does with one."""

from abc import ABC, abstractmethod

import numpy as np

from dlio_benchmark.common.enumerations import DatasetType
from dlio_benchmark.utils.config import ConfigArguments


class FormatReader(ABC):
    def __init__(self, dataset_type, thread_index):
        self.thread_index = thread_index
        self._args = ConfigArguments.get_instance()
        self.dataset_type = dataset_type
        self.open_file_map = {}
        training = dataset_type is DatasetType.TRAIN
        self.batch_size = self._args.batch_size if training else self._args.batch_size_eval

    @abstractmethod
    def open(self, filename): ...

    @abstractmethod
    def close(self, filename): ...

    @abstractmethod
    def get_sample(self, filename, sample_index): ...

    @abstractmethod
    def next(self):
        waiting = []
        for _, filename, number in self._args.file_map[self.thread_index]:
            if self.open_file_map.get(filename) is None:
                self.open_file_map[filename] = self.open(filename)
            self.get_sample(filename, number)
            waiting.append(self._args.resized_image)
            if len(waiting) == self.batch_size:
                yield np.array(waiting)
                waiting = []
            if (number + 1) % self._args.num_samples_per_file == 0:
                self.close(filename)
                self.open_file_map[filename] = None

    @abstractmethod
    def read_index(self, image_idx, step):
        filename, number = self._args.global_index_map[image_idx]
        self.open_file_map[filename] = self.open(filename)
        self.get_sample(filename, number)
        self.close(filename)
        self.open_file_map[filename] = None
        return self._args.resized_image

    @abstractmethod
    def finalize(self): ...

    @abstractmethod
    def is_index_based(self): ...

    @abstractmethod
    def is_iterator_based(self): ...
