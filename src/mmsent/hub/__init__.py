"""Publish models, corpora and demos on the Hugging Face Hub."""
