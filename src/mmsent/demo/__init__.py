"""Show a model in the browser."""
