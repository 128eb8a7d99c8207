"""Rows to requests to embedded rows, in input order."""
