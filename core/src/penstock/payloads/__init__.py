"""Content for the objects that a benchmark writes, and its check; plugins offer more by ``penstock_payload_types``."""
