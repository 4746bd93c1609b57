"""Corpora of image-and-text posts.

    import mmsent

    posts = mmsent.load_corpus("sample_posts")
    posts = mmsent.load_corpus("mvsa_single", "random", data_dir="~/MVSA_Single")

After `import mmsent`, `datasets.load_dataset` knows these names too. To add a corpus, write its folder beside the
others (a module with a subclass of `common_corpus.Corpus`, `README.md`, `splits/` if needed) and add a row to
`CORPORA` in `common_loading.py`.
"""

from .common_loading import CORPORA, corpus_class, load_corpus
from .common_registration import register

__all__ = ["CORPORA", "corpus_class", "load_corpus", "register"]
