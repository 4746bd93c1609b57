"""Score predictions, and report on models and corpora."""
