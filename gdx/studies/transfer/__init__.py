"""Which parameterisations of a network carry a step size from one width, or depth, to another."""

from gdx.studies.transfer.found import Cell, Law, LinearCell, Transfer
from gdx.studies.transfer.study import transfer

__all__ = ["Cell", "Law", "LinearCell", "Transfer", "transfer"]
