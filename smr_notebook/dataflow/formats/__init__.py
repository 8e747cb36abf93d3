"""Bytes of input objects to records and columns: one room for each format."""
