"""posts: your own posts, from a table or a folder of tables."""

from itertools import groupby

import numpy as np

from ..common_corpus import Corpus, with_clean
from ..common_posts import RowReader
from .files import locate_tables
from .plan import PostsConfig, make_plan, open_tables, shared_row


class Posts(Corpus):
    """A corpus of the user's own posts. `PostsConfig` has its options.

    It adds the columns `caption`, `tree`, `group` and `image_features` if the table has them.
    """

    DESCRIPTION = "Posts of a table, with the label that each has there."
    REDISTRIBUTION = ("unclear", "it depends on who wrote the posts and took the pictures")
    BUILDER_CONFIG_CLASS = PostsConfig
    BUILDER_CONFIGS = with_clean(PostsConfig("default", "1.0.0", description="Splits of the table, or drawn ones."))
    DEFAULT_CONFIG_NAME = "default"

    @classmethod
    def locate(cls, name, data_dir, data_files):
        tables = locate_tables(name, data_dir, data_files)
        paths = [path for members in tables.values() for path in members]
        return {"tables": {split: [str(path) for path in members] for split, members in tables.items()}}, paths

    def columns(self) -> None:
        """Return None: the columns depend on the table, which `_split_generators` reads."""

    def _split_generators(self, dl_manager):
        tables = open_tables(self.config)
        plan = make_plan(tables, self.config)
        index, self.info.features = plan.index, plan.features
        splits = {split: [index.ids[row] for row in rows] for split, rows in plan.splits.items()}
        sources = {index.ids[row]: int(row) for rows in plan.splits.values() for row in rows}
        return self.generators(
            splits,
            sources,
            plan.notes,
            tables=tuple(table for members in tables.values() for table in members),
            table_numbers=np.asarray(index.tables),
            positions=np.asarray(index.positions),
            classes=index.classes,
        )

    def _generate_examples(self, chunks, **context):
        readers = tuple(RowReader(table) for table in context["tables"])
        return super()._generate_examples(chunks, readers=readers, **context)

    def read_chunk(self, posts, tables, table_numbers, positions, classes, readers):
        for number, members in groupby(posts, key=lambda post: table_numbers[post[1]]):
            members = list(members)
            rows = readers[number].read(int(positions[row]) for _, row in members)
            for (post_id, _), row in zip(members, rows, strict=True):
                yield {"id": post_id} | shared_row(tables[number], row, classes)
