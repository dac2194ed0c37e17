"""A frozen study from its files to its report: what knobs on a pretrained model cost it, over folds of questions."""
