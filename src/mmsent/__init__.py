"""Image-and-text sentiment analysis, native to Hugging Face.

Importing this package registers its models and its pipeline with transformers, and its corpora with `datasets`.
"""

from .dataset_scripts import CORPORA, load_corpus
from .dataset_scripts import register as register_corpora
from .modeling import ARCHITECTURES
from .modeling import register as register_models

register_models()
register_corpora()

__all__ = ["ARCHITECTURES", "CORPORA", "load_corpus"]
