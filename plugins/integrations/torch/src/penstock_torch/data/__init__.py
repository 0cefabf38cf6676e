"""Datasets for ``torch.utils.data`` and ``torchdata`` on penstock's loaders."""
