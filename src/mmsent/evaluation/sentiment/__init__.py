"""The metric that `evaluate.load` reads from this folder."""
