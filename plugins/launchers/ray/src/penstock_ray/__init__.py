"""penstock's launcher for Ray clusters."""
