"""The storage side of ``torch.distributed.checkpoint`` on a penstock store.

A checkpoint is a directory. Each rank writes its tensors and values into data files, ``__RANK_NUMBER_TOKEN.distcp``,
and the coordinator publishes ``.metadata``, which names what is where. The files are those of torch's own
``FileSystemWriter``, so either reads what the other wrote; beside what torch needs, an entry says where a tensor's
bare bytes lie, and by that they are read straight into the tensor that wants them.
"""
