"""penstock's backend for local files, read and written through the page cache."""
