"""The words of DLIO that plugins meet."""

from enum import Enum


class MetadataType(Enum):
    FILE = "file"
    DIRECTORY = "directory"


class NamespaceType(Enum):
    FLAT = "flat"
    HIERARCHICAL = "hierarchical"


class DatasetType(Enum):
    TRAIN = "train"
    VALID = "valid"


class StorageType(Enum):
    LOCAL_FS = "local_fs"
    S3 = "s3"


class Shuffle(Enum):
    OFF = "off"
    SEED = "seed"
