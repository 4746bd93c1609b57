"""Predict the sentiment of posts in files."""
