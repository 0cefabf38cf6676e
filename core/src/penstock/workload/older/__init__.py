"""Files of s3-bench and sai3-bench: told from penstock's own, and rewritten in its keys.

Every key of theirs has an entry in a table here: what it became, why it was left out, or why the file can't be used.
"""
