"""The views of a study: report, tables, figures, TensorBoard, verdicts.json."""
