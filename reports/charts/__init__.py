"""Pictures of a run and of a calibration: one look, the same bytes for the same figures."""
