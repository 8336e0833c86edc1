"""Searches along a line, one method a file."""
