"""HDF5 files: the first axis of every dataset counts the samples, and reads fetch the chunks that they touch."""
