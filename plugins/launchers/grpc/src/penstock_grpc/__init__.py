"""penstock on hosts without a cluster: an agent on each, and the launcher that speaks to them."""
