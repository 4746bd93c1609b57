"""Cases of models: a folder of a saved model that is damaged, or a name that is not one."""

import os
import pickle
from pathlib import Path

import torch
from hostile_case import Case
from hostile_model_makers import (
    NOT_A_RUN,
    WEIGHTS,
    beside,
    content,
    evil_code,
    evil_type,
    field,
    fixed,
    index_out,
    moved,
    name,
    only_pickle,
    only_zip_of_pickle,
    some,
    special,
    weights,
    words,
)

DEEP = b"[" * 60_000
JSON_FILES = ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
MODELS = [
    Case("untouched", lambda folder: folder, None),
    Case("a name with blanks", lambda folder: folder.rename(folder.with_name("mo del é")), None),
    *(
        content(file, label, fixed(value), rf"model/{file} does not hold the JSON that is expected: .*({says})")
        for file in JSON_FILES
        for label, value, says in (
            ("empty", b"", "Expecting value: line 1"),
            ("a list", b"[]", "not an object"),
            ("null", b"null", "not an object"),
            ("a number", b"3", "not an object"),
            ("no JSON", b"{", "line 1 column 2"),
            ("deep", DEEP, "recursion depth"),
            ("not UTF-8", b'{"a": "\xff"}', "byte 0xff in position 7"),
            ("UTF-16", "{}".encode("utf-16"), "byte 0xff in position 0"),
        )
    ),
    *(special(file, make) for file in (*JSON_FILES, WEIGHTS) for make in (os.mkfifo, Path.mkdir)),
    content("config.json", "missing", fixed(None), "model has no config.json: name the folder of a saved"),
    content("config.json", "{}", fixed(b"{}"), "Unrecognized model in .*model. Should have a `model_type`"),
    content("processor_config.json", "missing", fixed(None), "model has no processor_config.json"),
    content("processor_config.json", "{}", fixed(b"{}"), "load image processor for .*model"),
    content("tokenizer.json", "missing", fixed(None), "model cannot be loaded: .*tokenizer"),
    content("tokenizer.json", "{}", fixed(b"{}"), "model cannot be loaded: .*added_tokens"),
    content("tokenizer.json", "of another model", words(1000), "model: .*the tokenizer has ids up to"),
    field("config.json", "model_type", "gpt9", "model contains custom code.*trust_remote_code=True"),
    field("config.json", "model_type", ..., "model contains custom code.*trust_remote_code=True"),
    field("config.json", "model_type", ["comn"], "config.json.*unhashable type"),
    field("config.json", "model_type", "bert", "model holds a model of the type bert|a model of --architecture bert"),
    field("config.json", "id2label", {"0": "a", "2": "b", "3": "c"}, "config.json.*id2label=.*counted from 0"),
    field("config.json", "id2label", {"0": "a", "1": "a", "2": "a"}, "config.json.*two classes have one name"),
    field("config.json", "id2label", {"0": "a"}, "model: the weights do not match .*weight", at={"train_from": None}),
    field("config.json", "id2label", {"x": "a"}, "config.json.*id2label=.*counted from 0"),
    field("config.json", "id2label", {}, "config.json.*id2label={}"),
    field("config.json", "id2label", [], r"config.json.*id2label=\[\]"),
    field("config.json", "id2label", {"0": 1, "1": None, "2": []}, "config.json.*id2label=.*a name that is a string"),
    field("config.json", "dtype", "float99", "model.* cannot be loaded: .*float99"),
    field(
        "config.json",
        "text_config",
        ...,
        "model: .*(the weights do not match .*text_encoder|the tokenizer has ids up to)",
    ),
    field("config.json", "text_config", [], "config.json.*'text_config'"),
    field("config.json", "text_config.vocab_size", 10**12, "model cannot be loaded: .*(allocate memory|mismatched)"),
    field("config.json", "text_config.vocab_size", -1, "model cannot be loaded: .*negative dimension -1"),
    field("config.json", "text_config.vocab_size", "many", "config.json.*'vocab_size' expected int"),
    field("config.json", "text_config.vocab_size", 2.5, "config.json.*'vocab_size' expected int"),
    field("config.json", "text_config.hidden_size", 10**9, "model cannot be loaded: .*allocate memory"),
    field("config.json", "text_config.hidden_size", float("nan"), "config.json.*'hidden_size' expected int"),
    field("config.json", "text_config.pad_token_id", 10**6, "model cannot be loaded: .*Padding_idx"),
    field("config.json", "text_config.model_type", "none", "config.json.*none"),
    field("config.json", "image_config", "x", "config.json.*'image_config'"),
    field("config.json", "architectures", ["os.system"], None),
    field("config.json", "problem_type", "regression", None),
    field("config.json", "unknown", {"a": 1}, None),
    field("processor_config.json", "processor_class", "Evil", "model contains custom code.*trust_remote_code=True"),
    field("processor_config.json", "max_length", 0, "model cannot be loaded: .*max_length=0"),
    field("processor_config.json", "max_length", -1, "model cannot be loaded: .*max_length=-1"),
    field("processor_config.json", "max_length", "x", "model cannot be loaded: .*max_length='x'"),
    field("processor_config.json", "max_length", 10**18, None, at={"train_from": "max_length=10{18}"}),
    field("processor_config.json", "max_images", 0, "model cannot be loaded: .*max_images=0"),
    field("processor_config.json", "max_images", "x", "model cannot be loaded: .*max_images='x'"),
    field(
        "processor_config.json", "text_steps", ["nothing"], "model cannot be loaded: .*Text step 'nothing' is unknown"
    ),
    field("processor_config.json", "text_steps", "strip_links", "model cannot be loaded: .*pass a list of names"),
    field(
        "processor_config.json", "text_steps", [["strip_links"]], "model cannot be loaded: .*Text step .* is unknown"
    ),
    field(
        "processor_config.json",
        "image_processor.size",
        {"height": 0, "width": 0},
        "model: .*size=0: give a whole number",
    ),
    field(
        "processor_config.json",
        "image_processor.size",
        {"height": 10**6, "width": 10**6},
        "model: .*at most 50,000,000 pixels",
    ),
    field(
        "processor_config.json",
        "image_processor.size",
        {"height": 10, "width": 10},
        "model: .*do not fit: .*10 x 10 pixels",
    ),
    field("processor_config.json", "image_processor.size", {"shortest_edge": 64}, "model: .*keeps the aspect ratio"),
    field("processor_config.json", "image_processor.size", "x", "model cannot be loaded: .*size dict: x"),
    field("processor_config.json", "image_processor.image_mean", [0.5], None),
    field(
        "processor_config.json", "image_processor.image_std", [0, 0, 0], "model: .*do not fit: .*not finite numbers"
    ),
    field(
        "processor_config.json",
        "image_processor.image_std",
        [float("nan")] * 3,
        "model: .*do not fit: .*not finite numbers",
    ),
    field("processor_config.json", "image_processor.rescale_factor", "x", "model: .*cannot be loaded: TypeError"),
    field(
        "processor_config.json",
        "image_processor.image_processor_type",
        "Evil",
        "Unrecognized image processor in .*model",
    ),
    field("tokenizer_config.json", "pad_token", None, "model: .*does not have a padding token"),
    field("tokenizer_config.json", "tokenizer_class", "Evil", None),
    content(WEIGHTS, "missing", fixed(None), "model has no model.safetensors, the only format", at=NOT_A_RUN),
    content(
        WEIGHTS, "empty", fixed(b""), "model/model.safetensors is damaged: .*header too small.*Get the file again"
    ),
    content(
        WEIGHTS,
        "no JSON",
        fixed(b"\x08" + b"\0" * 7 + b"notjson!"),
        "model/model.safetensors is damaged: .*invalid JSON.*Get the file again",
    ),
    content(
        WEIGHTS,
        "a huge header",
        fixed(b"\xff" * 100),
        "model/model.safetensors is damaged: .*header too large.*Get the file again",
    ),
    content(
        WEIGHTS,
        "a header of 99 MB",
        fixed((99_000_000).to_bytes(8, "little") + b"{"),
        "model/model.safetensors is damaged: .*header length.*Get the file again",
    ),
    content(
        WEIGHTS, "a pickle", fixed(pickle.dumps(3)), "model/model.safetensors is damaged: .*header.*Get the file again"
    ),
    content(
        WEIGHTS,
        "half",
        lambda old: old[: len(old) // 2],
        "model/model.safetensors is damaged: .*not fully covered.*Get the file again",
    ),
    content(
        WEIGHTS,
        "cut by a byte",
        lambda old: old[:-1],
        "model/model.safetensors is damaged: .*not fully covered.*Get the file again",
    ),
    content(
        WEIGHTS,
        "bytes after",
        lambda old: old + b"\0",
        "model/model.safetensors is damaged: .*not fully covered.*Get the file again",
    ),
    weights(
        "renamed",
        lambda old: {f"module.{key}": value for key, value in old.items()},
        "model: the weights do not match the .*",
    ),
    weights(
        "one is missing",
        lambda old: dict(list(old.items())[1:]),
        "model: the weights do not match the .*",
    ),
    weights("none", lambda old: {"x": torch.zeros(1)}, "model: the weights do not match the .*"),
    weights(
        "one more",
        lambda old: old | {"head.extra": torch.zeros(1)},
        "model: the weights do not match the .*head.extra",
    ),
    weights("NaN", some(float("nan")), "model: the weights .* hold NaN or infinity"),
    weights("infinity", some(float("inf")), "model: the weights .* hold NaN or infinity"),
    weights("minus infinity", some(float("-inf")), "model: the weights .* hold NaN or infinity"),
    weights(
        "huge numbers",
        lambda old: {key: value * 1e30 if value.is_floating_point() else value for key, value in old.items()},
        "scores that are not finite|weights .* hold NaN|the loss is",
        at={"load_folder": None},
    ),
    weights(
        "another shape",
        lambda old: {key: value[..., None] for key, value in old.items()},
        "model: the weights do not match the .*",
    ),
    weights(
        "one row less",
        lambda old: {key: value[1:].clone() if value.ndim else value for key, value in old.items()},
        "model: the weights do not match the .*",
    ),
    weights(
        "float64",
        lambda old: {key: value.double() if value.is_floating_point() else value for key, value in old.items()},
        None,
    ),
    weights(
        "float16",
        lambda old: {key: value.half() if value.is_floating_point() else value for key, value in old.items()},
        None,
    ),
    weights(
        "integers",
        lambda old: {key: value.long() for key, value in old.items()},
        "model.safetensors: the weights .* have the type I64",
    ),
    Case("only a pickle", only_pickle, "model has no model.safetensors, the only format", at=NOT_A_RUN),
    Case(
        "only a zip of a pickle", only_zip_of_pickle, "model has no model.safetensors, the only format", at=NOT_A_RUN
    ),
    Case("an index that leads out", index_out, "model has no model.safetensors, the only format", at=NOT_A_RUN),
    Case("code that is not trusted", evil_code, None),
    Case("code of an unknown type", evil_type, "model contains custom code.*trust_remote_code=True"),
    beside("adapter_config.json", "[]", "model/adapter_config.json does not hold"),
    beside(
        "adapter_config.json",
        '{"base_model_name_or_path": "/etc", "peft_type": "LORA"}',
        "model cannot be loaded: .*peft_config",
    ),
    beside("preprocessor_config.json", "[]", None),
    beside("chat_template.jinja", "{{ 7 * 7 }}{% for x in range(10**9) %}{% endfor %}", None),
    beside("added_tokens.json", "[", "model/added_tokens.json does not hold"),
    beside("generation_config.json", "[", None),
    Case("a moved folder", lambda folder: moved(folder).with_name("model"), "There is no folder", at=NOT_A_RUN),
    name("./nowhere", "There is no folder ./nowhere. It looks like a path"),
    name("/nowhere", "There is no folder"),
    name("~/nowhere", "There is no folder"),
    name("../nowhere", "There is no folder"),
    name("a/b/c", "There is no folder"),
    name("a\\b", "There is no folder"),
    name("MODELx", "There is no folder"),
    name("MODEL/config.json", "is not a folder: name the folder of a saved model"),
    name("MODEL/../nothing", "There is no folder"),
    name(".", r"\. has no config.json"),
    name("/", "/ has no config.json"),
    name("", "The name is empty"),
    name(" ", "The name is empty"),
    name("no_user/no_model", "no_user/no_model cannot be loaded: .*connect"),
    name("no_model", "no_model cannot be loaded: .*connect"),
    name("no user/no model", "no user/no model.*Repo id|Repo id.*no user/no model"),
    name("http://127.0.0.1:9/x", "There is no folder"),
    name("a" * 5000, "File name too long"),
    name("a\0b", "Repo id must use"),
    name("a\nb/c", "Repo id must use"),
    name("--model", "Repo id must use|expected one argument"),
]
