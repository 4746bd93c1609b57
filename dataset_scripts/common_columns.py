"""Find the columns of a table of posts: by the names that the user gives, or by usual names."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

# field of a post -> the option that names its column, and the usual names of this column; the first is our own name
FIELDS = {
    "text": ("text_column", ["text", "tweet", "content", "sentence", "post", "message", "review", "comment", "title"]),
    "images": (
        "image_columns",
        ["images", "image", "photo", "photos", "picture", "pictures", "img", "imgs", "image_path", "image_paths"]
        + ["img_path", "image_file", "image_files", "image_name", "image_names", "photo_path", "picture_path"]
        + ["file_name", "file_names", "filename"],
    ),
    "image_features": ("image_features_column", ["image_features"]),
    "label": ("label_column", ["label", "labels", "sentiment", "polarity", "class", "rating", "stars"]),
    "aspect": ("aspect_column", ["aspect", "target", "aspect_term", "entity"]),
    "caption": ("caption_column", ["caption", "captions", "image_caption"]),
    "tree": ("tree_column", ["tree", "parse"]),
    "id": ("id_column", ["id", "post_id", "tweet_id", "uid"]),
    "group": ("group_column", ["group", "group_id"]),
    "split": ("split_column", ["split", "set", "subset", "fold"]),
    "text_label": ("text_label_column", ["text_label"]),
    "image_label": ("image_label_column", ["image_label"]),
}
OWN_NAMES = {"images": ("images", "image")}  # a column with our own name wins over other usual names
POST_FIELDS = ("text", "images", "image_features", "aspect", "id")  # what a model reads of a post, and its id
FURTHER_FIELDS = ("caption", "tree")  # what only some architectures read, see `MultimodalProcessor.columns`
NONE = "none"  # as the name of a column: there is none, whatever the table's columns are called

Columns = dict[str, str | list[str] | None]  # field -> its column; the images may have several


def find_columns(
    available: Sequence[str],
    chosen: Mapping[str, str | Sequence[str] | None],
    fields: Iterable[str],
    where: str,
) -> Columns:
    """Return the column of each field, or None where the table has none; for "images" a list of columns.

    Args:
        available: Columns of the table.
        chosen: The columns that the user chose, by field. "none" means that there is no such column.
        fields: Fields to look for, from `FIELDS`.
        where: Name of the table, for errors.

    Raises:
        ValueError: If a chosen column does not exist, or several columns have a usual name of one field.
    """
    chosen_lists = {field: _as_list(names) for field, names in chosen.items() if names is not None}
    for names in chosen_lists.values():
        for name in names:
            if name not in available and name != NONE:
                raise ValueError(f"{where} has no column {name}; {_listing(available)}{_nearest(name, available)}.")
    taken = {name for names in chosen_lists.values() for name in names}
    columns: Columns = {}
    for field in fields:
        if field in chosen_lists:
            names = [name for name in chosen_lists[field] if name in available]
        else:
            names = _guess(field, [name for name in available if name not in taken], where)
        columns[field] = (names or None) if field == "images" else next(iter(names), None)
    return columns


def describe_columns(columns: Columns) -> str:
    """Return the columns in words: "text = tweet, images = photo"."""
    found = {field: ", ".join(_as_list(names)) for field, names in columns.items() if names}
    return ", ".join(f"{field} = {name}" for field, name in found.items())


def missing_columns(fields: Sequence[str], available: Sequence[str], where: str, hint: str = "") -> ValueError:
    """Return the error for a table that has the column of none of these fields, one of which is needed.

    Args:
        hint: What else may help.
    """
    own = [name for field in fields for name in OWN_NAMES.get(field, (field,))]
    names = " or ".join(filter(None, (", ".join(own[:-1]), own[-1])))
    usual = [name for field in fields for name in FIELDS[field][1]]
    near = next(filter(None, (_nearest(name, available) for name in usual)), "")
    options = " or ".join(f"--{FIELDS[field][0]}" for field in fields)
    return ValueError(f"{where} has no column {names}; {_listing(available)}{near}. {hint}Choose one with {options}.")


def _guess(field: str, available: list[str], where: str) -> list[str]:
    """Return the columns with a usual name of a field: our own name, or the only usual one. Images may be numbered."""
    option, usual = FIELDS[field]
    groups: dict[str, dict[int, list[str]]] = {}  # usual name -> number -> columns
    for name in available:
        plain = re.sub(r"[\s-]+", "_", name.strip().casefold())
        stem, number = re.fullmatch(r"(.*?)_?(\d*)", plain).groups() if field == "images" else (plain, "")
        if stem in usual:
            groups.setdefault(stem, {}).setdefault(int(number or 0), []).append(name)
    for own in OWN_NAMES.get(field, (field,)):
        if own in available:
            return [own, *(names[0] for number, names in sorted(groups[own].items()) if number)]
    names = [name for numbered in groups.values() for _, same in sorted(numbered.items()) for name in same]
    if len(groups) > 1 or any(len(same) > 1 for numbered in groups.values() for same in numbered.values()):
        raise ValueError(f"{where}: {', '.join(names)} may each be the {field}; choose with --{option}.")
    return names


def _listing(available: Sequence[str]) -> str:
    return f"its columns are {', '.join(available) or 'none'}"


def _nearest(name: str, available: Sequence[str]) -> str:
    lower = {other.casefold(): other for other in available}
    near = difflib.get_close_matches(name.casefold(), lower, n=1, cutoff=0.7)
    return f" (did you mean {lower[near[0]]}?)" if near else ""


def _as_list(names: str | Sequence[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())
