"""Content for the objects that a benchmark writes; plugins offer more by ``penstock_payload_types``."""
