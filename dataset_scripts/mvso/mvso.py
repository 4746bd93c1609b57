"""MVSO, the multilingual visual sentiment ontology: adjective-noun pairs of twelve languages (Jou et al., MM 2015)."""

from collections.abc import Callable

from ..common_anp import ANPS, FOLDER, IMAGES, TABLE, VECTOR_FOLDER, AnpConfig, AnpCorpus, read_mvso
from ..common_corpus import with_clean

LANGUAGES = (
    "arabic chinese dutch english french german italian persian polish russian spanish turkish".split()  # noqa: SIM905
)
STUDY = {
    "positive": 0.035,
    "negative": -0.035,
    "strict": False,
    "text_of": ("title", "description"),
    "words_of": ("title", "description", "tags"),
    "more_words_than": 9,
    "fewer_words_than": float("inf"),
    "shares": (("train", 0.7), ("validation", 0.2), ("test", 0.1)),
}


class MVSO(AnpCorpus):
    """MVSO, as Deep Fusion reads it (arXiv 1711.07798) and as the MVSO study reads it (arXiv 1712.00725)."""

    HOMEPAGE = "http://mvso.cs.columbia.edu"
    INDEX = (*(f"{language}.csv" for language in LANGUAGES), TABLE, IMAGES, VECTOR_FOLDER, FOLDER, f"{FOLDER}/*")
    BUILDER_CONFIG_CLASS = AnpConfig
    BUILDER_CONFIGS = with_clean(
        AnpConfig(
            "deep_fusion",
            "1.1.0",
            description="Two classes, scores > 0.16 and < -0.1; 5 to 150 words of the description; 80/20.",
            positive=0.16,
            negative=-0.1,
            more_words_than=4,
            fewer_words_than=151,
        ),
        AnpConfig(
            "study",
            "1.0.0",
            description="Three classes at ±0.035; at least ten words in title, description and tags; 70/20/10.",
            neutral=True,
            **STUDY,
        ),
        AnpConfig("study_two_classes", "1.0.0", description="The same without the neutral posts.", **STUDY),
        AnpConfig("anps", "1.0.0", **ANPS),
    )
    DEFAULT_CONFIG_NAME = "deep_fusion"

    def anp_list(self) -> tuple[str, Callable]:
        """Return the name of the ANP list of the language, and the function that reads it."""
        if self.config.language not in LANGUAGES:
            raise ValueError(f"language={self.config.language!r} is not one of {', '.join(LANGUAGES)}")
        return f"{self.config.language}.csv", read_mvso
