"""What was measured of a study, as arrays with a row for each cell and evaluation."""
