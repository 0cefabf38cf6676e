"""penstock's backend for Amazon S3 and the stores that speak its protocol."""
