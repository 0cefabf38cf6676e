"""penstock's backend for Google Cloud Storage."""
