"""Arrays from elsewhere, judged as a study is."""
