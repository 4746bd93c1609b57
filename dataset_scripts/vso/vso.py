"""VSO, the visual sentiment ontology: Flickr photos of 3,244 adjective-noun pairs (Borth et al., ACM MM 2013)."""

from collections.abc import Callable

from ..common_anp import ANPS, FOLDER, IMAGES, TABLE, VECTOR_FOLDER, AnpConfig, AnpCorpus, read_vso
from ..common_corpus import with_clean

ANP_LIST = "3244ANPs.txt"


class VSO(AnpCorpus):
    """VSO, as Deep Fusion reads it (arXiv 1711.07798): the label is the sign of the ANP's score."""

    HOMEPAGE = "https://visual-sentiment-ontology.appspot.com"
    INDEX = (ANP_LIST, TABLE, IMAGES, VECTOR_FOLDER, FOLDER, f"{FOLDER}/*")
    BUILDER_CONFIG_CLASS = AnpConfig
    BUILDER_CONFIGS = with_clean(
        AnpConfig("deep_fusion", "1.0.0", description="Two classes; 5 < words of the description < 150; 80/20."),
        AnpConfig("anps", "1.0.0", **ANPS),
    )
    DEFAULT_CONFIG_NAME = "deep_fusion"

    def anp_list(self) -> tuple[str, Callable]:
        """Return the name of the ANP list, and the function that reads it."""
        return ANP_LIST, read_vso
