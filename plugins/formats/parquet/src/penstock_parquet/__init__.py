"""Parquet files: rows are samples, columns their values, and only the row groups that are needed are read."""
