"""sample_posts: a small generated corpus; the text tells the label of some posts, the picture that of others,
and that of the rest only both together. `posts` says how it is made."""

from pathlib import Path

from datasets import ClassLabel, DatasetInfo
from datasets.builder import Key

from ..corpus import Corpus, features, read_splits
from .posts import CELLS_A_BLOCK, make_post

SPLITS = Path(__file__).parent / "splits"


class SamplePosts(Corpus):
    """Needs no data_dir and no download. One more column, `decided_by`: "text", "image" or "both"."""

    VERSION = "1.0.0"

    def _info(self):
        return DatasetInfo(
            description="Generated posts whose label the text tells, the picture tells, or only both tell.",
            features=features(decided_by=ClassLabel(names=list(CELLS_A_BLOCK))),
        )

    def _split_generators(self, dl_manager):
        splits = read_splits(SPLITS)
        return self.generators(splits, {post_id: None for ids in splits.values() for post_id in ids})

    def _generate_examples(self, chunks):
        for shard, posts in enumerate(chunks):
            for row, (post_id, _) in enumerate(posts):
                yield Key(shard, row), make_post(post_id)
