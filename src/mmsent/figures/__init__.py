"""The figures of the papers, drawn from trained models and from the published tables."""
