"""Statistics: histograms, tallies by operation and size, error tables, and what the client itself used."""
