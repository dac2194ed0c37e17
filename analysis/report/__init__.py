"""The views of a study: report, tables, figures, TensorBoard, verdicts.json; and what a run prints.

Other rooms use `console` (plan and verdicts for a terminal), `projections.read` (hidden states on a plane),
`write.write_views`, `verdicts_json.document` and the sentences of `wording`. They import these modules by name: handing
them on here would make every user of a sentence import matplotlib.
"""
