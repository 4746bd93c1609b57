"""Image-and-text sentiment analysis, native to Hugging Face.

Importing this package makes transformers know its models and its pipeline, and `datasets.load_dataset` its corpora.
"""

from .dataset_scripts import CORPORA
from .modeling import ARCHITECTURES, register

register()

__all__ = ["ARCHITECTURES", "CORPORA"]
