"""Explains a run: reads run folders, writes documents, draws the viewer."""
