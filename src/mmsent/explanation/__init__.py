"""Explain why a post has its scores."""
