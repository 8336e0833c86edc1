"""Rows, tables and JSON of what the studies found; nothing is computed here. One file a study."""

from gdx.reports.atlas import atlas_csv, atlas_json, atlas_markdown, atlas_table, summary_lines
from gdx.reports.bifurcation import bifurcation_json, bifurcation_tables
from gdx.reports.catalogue import catalogue_table, hyperparameters
from gdx.reports.comparison import comparison_json
from gdx.reports.phase_map import map_attributes, map_json, map_lines
from gdx.reports.reproduction import Reproduced, reproduction_json, reproduction_line, reproduction_table
from gdx.reports.stability import stability_html, stability_json, stability_tables
from gdx.reports.step_table import step_table_json, step_table_tables
from gdx.reports.transfer import transfer_json, transfer_tables
from gdx.reports.transition import edge_attributes, title, transition_json, transition_tables
from gdx.reports.values import to_json, versions
from gdx.reports.verify import verification_json, verification_line, verification_table

__all__ = [
    "Reproduced",
    "atlas_csv",
    "atlas_json",
    "atlas_markdown",
    "atlas_table",
    "bifurcation_json",
    "bifurcation_tables",
    "catalogue_table",
    "comparison_json",
    "edge_attributes",
    "hyperparameters",
    "map_attributes",
    "map_json",
    "map_lines",
    "reproduction_json",
    "reproduction_line",
    "reproduction_table",
    "stability_html",
    "stability_json",
    "stability_tables",
    "step_table_json",
    "step_table_tables",
    "summary_lines",
    "title",
    "to_json",
    "transfer_json",
    "transfer_tables",
    "transition_json",
    "transition_tables",
    "verification_json",
    "verification_line",
    "verification_table",
    "versions",
]
