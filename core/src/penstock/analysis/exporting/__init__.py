"""An analysis or a comparison as TSV, JSON and XLSX: the same tables, by the same names of columns."""
