"""DLIO's interface of a generator: the base lists the files, this rank's and the others'."""

from abc import ABC, abstractmethod

from dlio_benchmark.utils.config import ConfigArguments


class DataGenerator(ABC):
    def __init__(self):
        self._args = ConfigArguments.get_instance()
        self.my_rank, self.comm_size = self._args.my_rank, self._args.comm_size

    @abstractmethod
    def generate(self):
        files, form = self._args.num_files_train, self._args.format
        self._file_list = [f"data/train/img_{number}_of_{files}.{form}" for number in range(files)]
