"""What a model reads of a post: the visible part of an image, and the pieces of a text."""

import regex
from PIL import Image

from mmsent.modeling.common_processing import MultimodalProcessor


def visible_part(image: Image.Image, processor: MultimodalProcessor) -> Image.Image:
    """Return the part of an image that is left after the image processor's centre crop."""
    image_processor = processor.image_processor
    if not getattr(image_processor, "do_center_crop", False):
        return image
    size, (height, width) = dict(image_processor.size), processor.image_size
    if size.get("shortest_edge"):
        x_factor = y_factor = size["shortest_edge"] / min(image.size)
    else:
        x_factor, y_factor = size["width"] / image.width, size["height"] / image.height
    crop_width, crop_height = min(width / x_factor, image.width), min(height / y_factor, image.height)
    left, top = (image.width - crop_width) / 2, (image.height - crop_height) / 2
    return image.crop((round(left), round(top), round(left + crop_width), round(top + crop_height)))


def split_text(text: str, processor: MultimodalProcessor) -> tuple[list[tuple[str, list[int]]], list[bool]]:
    """Split a text into pieces.

    Returns:
        Each piece with the indices of its tokens, which are none for text that the model does not read; and for each
        token whether it is a special token that the tokenizer has added.
    """
    encoded = processor.tokenizer(text, truncation=True, max_length=processor.max_length).encodings[0]
    is_special = [bool(flag) for flag in encoded.special_tokens_mask]
    if not text.strip():
        return [(text, [])] if text else [], is_special
    # The start and end of the visible character (with accents, skin tone, joined emoji) of each code point.
    begins, ends = [], []
    for cluster in regex.finditer(r"\X", text):
        begins += [cluster.start()] * len(cluster[0])
        ends += [cluster.end()] * len(cluster[0])
    spans: list[tuple[int, int, list[int]]] = []
    for token, (start, end) in enumerate(encoded.offsets):
        if is_special[token]:
            continue
        start = min(start, len(text) - 1)  # A token without characters (a word boundary) belongs to the next one.
        end = max(end, start + 1)
        start = end - len(text[start:end].lstrip() or text[start:end])
        start, end, tokens = begins[start], ends[end - 1], [token]
        if spans and start < spans[-1][1]:
            last_start, last_end, last_tokens = spans.pop()
            start, end, tokens = min(start, last_start), max(end, last_end), last_tokens + tokens
        spans.append((start, end, tokens))
    pieces, position = [], 0
    for start, end, tokens in [*spans, (len(text), len(text), [])]:
        if start > position:
            pieces.append((text[position:start], []))
        if end > start:
            pieces.append((text[start:end], tokens))
        position = end
    return pieces, is_special
