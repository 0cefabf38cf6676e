"""DLIO's interface of a checkpoint mechanism: it makes the states when it is made, and saves them object by object."""

from abc import ABC, abstractmethod

from dlio_benchmark.storage.storage_factory import StorageFactory
from dlio_benchmark.utils.config import ConfigArguments


class BaseCheckpointing(ABC):
    def __init__(self, ext):
        self.ext = ext
        self.args = ConfigArguments.get_instance()
        self.checkpoint_storage = StorageFactory.get_storage(self.args.storage_type, self.args.checkpoint_folder)
        self.model_state = {"a": self.get_tensor_core(self.args.model_size, "fp16", True)}
        self.optimization_state = {
            str(number): {"m": self.get_tensor_core(length, "fp32"), "v": self.get_tensor_core(length, "fp32")}
            for number, length in enumerate(self.args.optimization_groups)
        }

    @abstractmethod
    def set_madvise_mergeable(self, tensor): ...

    @abstractmethod
    def get_tensor_core(self, length, datatype="int8", randomize=True): ...

    @abstractmethod
    def save_state(self, suffix, state, fsync=False): ...

    @abstractmethod
    def load_state(self, suffix, state): ...

    def _each(self, epoch, step):
        place = f"global_epoch{epoch}_step{step}"
        yield f"{place}/model_states-{self.args.my_rank}", self.model_state
        yield f"{place}/optimizer_states-{self.args.my_rank}", self.optimization_state

    @abstractmethod
    def save_checkpoint(self, epoch, step_number):
        for suffix, state in self._each(epoch, step_number):
            self.save_state(suffix, state, fsync=self.args.checkpoint_fsync)

    @abstractmethod
    def load_checkpoint(self, epoch, step_number):
        for suffix, state in self._each(epoch, step_number):
            self.load_state(suffix, state)

    @abstractmethod
    def finalize(self): ...
