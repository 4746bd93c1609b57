"""A model of transformers that turns images into sentences."""

from collections.abc import Sequence

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from mmsent.modeling.common_loading import check_finite, check_weight_files, load_config, naming_damage

REQUEST = "Describe the image in one sentence."  # to a chat model


class Captioner:
    """Describes images, each in a sentence, with any model that `AutoModelForImageTextToText` loads.

    These are pairs of an image encoder and a text decoder (`VisionEncoderDecoderModel`), captioning models such as
    BLIP and GIT, and models with a chat template. The same image always gives the same sentence: no token is drawn.

    Args:
        name: A folder or a Hub id.
        prompt: Words that a captioning model continues, or a request to a chat model.
        max_new_tokens: The highest number of tokens of a sentence.
        device: Where the model runs.
        trust_remote_code: Whether Python code beside the weights may run.

    Raises:
        OSError: If there is no such model.
        ValueError: If it is damaged, is of another kind, or does not read a prompt that is given.
    """

    def __init__(
        self,
        name: str,
        prompt: str | None = None,
        max_new_tokens: int = 40,
        device: torch.device | str = "cpu",
        trust_remote_code: bool = False,
    ):
        config = load_config(name, trust_remote_code=trust_remote_code)
        if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not trust_remote_code:
            raise ValueError(f"{name} is a model of the type {config.model_type}: name one for image-text-to-text.")
        check_weight_files(name)
        options = {"trust_remote_code": trust_remote_code}
        with naming_damage(name):
            model = AutoModelForImageTextToText.from_pretrained(name, use_safetensors=True, **options)
            # transformers has no processor that joins the two parts of a pair.
            self.is_pair = config.model_type == "vision-encoder-decoder"
            if self.is_pair:
                self.processor = AutoImageProcessor.from_pretrained(name, **options)
                self.tokenizer = AutoTokenizer.from_pretrained(name, **options)
            else:
                self.processor = AutoProcessor.from_pretrained(name, **options)
                self.tokenizer = self.processor.tokenizer
        check_finite(model, name)
        if self.is_pair and prompt is not None:
            raise ValueError(f"--prompt: {name} reads images only; leave it out.")
        self.model, self.prompt, self.max_new_tokens = model.to(device).eval(), prompt, max_new_tokens
        self.is_chat = getattr(self.processor, "chat_template", None) is not None
        if self.is_chat:
            self.tokenizer.padding_side = "left"  # the answer follows the request

    @torch.no_grad()
    def __call__(self, images: Sequence[Image.Image]) -> list[str]:
        """Return the sentence of each image, in one batch."""
        if not images:
            return []
        inputs = self._encode(list(images)).to(self.model.device, dtype=self.model.dtype)
        generated = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        if self.is_chat:  # such models repeat the request
            generated = generated[:, inputs["input_ids"].shape[1] :]
        sentences = self.tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [" ".join(sentence.split()) for sentence in sentences]

    def _encode(self, images: list[Image.Image]):
        if self.is_pair:
            return self.processor(images, return_tensors="pt")
        if not self.is_chat:
            texts = {} if self.prompt is None else {"text": [self.prompt] * len(images), "padding": True}
            texts |= {} if self.prompt is None else {"return_token_type_ids": False}  # which such models do not read
            return self.processor(images=images, return_tensors="pt", **texts)
        request = {"type": "text", "text": REQUEST if self.prompt is None else self.prompt}
        chats = [[{"role": "user", "content": [{"type": "image", "image": image}, request]}] for image in images]
        return self.processor.apply_chat_template(
            chats,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            processor_kwargs={"padding": True},
        )
