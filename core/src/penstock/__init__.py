"""penstock: moves data between storage and accelerators, and measures how well storage does it."""
