"""penstock's backend for Azure Blob Storage."""
