"""penstock's backend for files read and written with O_DIRECT, past the page cache."""
