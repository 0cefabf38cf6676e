"""What the test servers do otherwise than S3, by name. The one place where it is said; tests refer to the names."""

from __future__ import annotations

__all__ = ["FAULTS"]

FAULTS: dict[str, dict[str, str]] = {
    "SeaweedFS": {},
    "moto": {},
    "Ceph": {},
}
