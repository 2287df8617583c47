"""The record of a run as reports read it: its files, series, lineage and computation."""
