"""Early warning: breaks predicted from the first fifth of training."""
