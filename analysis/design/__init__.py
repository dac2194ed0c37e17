"""What a study is judged by: its controls, its interim looks, the values of tuned knobs."""
