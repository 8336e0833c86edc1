"""Random losses that are neither quadratics nor factorizations, and where their runs really stop converging."""
