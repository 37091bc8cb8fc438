"""A model folder that sentence-transformers loads, too: the same files, and two more.

The library is not needed to write one.
"""

import shutil
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.core.files import write_text
from xfm.core.results_folder import free_name, unused
from xfm.inference.pipeline import pipeline
from xfm.models.adapters import require_whole
from xfm.models.artifacts import CARD, model_card
from xfm.models.folder import load_model
from xfm.models.model_files import as_json, saving

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
_HOME = "xfm.inference.sentence_transformers"
_SHARED: dict[str, Any] = {"default_prompt_name": None, "requirements": {"xfm": ">=0.1"}}
FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sentence-transformers": (
        "embed",
        f"{_HOME}.XFMVectors",
        {
            "model_type": "SentenceTransformer",
            "prompts": {"query": "", "document": ""},
            "similarity_fn_name": "cosine",
        },
    ),
    "cross-encoder": (
        "image-text-matching",
        f"{_HOME}.XFMMatches",
        {"model_type": "CrossEncoder", "prompts": {}, "activation_fn": "torch.nn.modules.activation.Sigmoid"},
    ),
}
"""For each format: the task that must be answered, the module, and the settings of the library's class."""
_USE = {
    "sentence-transformers": """from sentence_transformers import SentenceTransformer

model = SentenceTransformer({name}, trust_remote_code=True{more})  # runs the installed package xfm
model.similarity(model.encode(["a cat", "a dog"]), model.encode([picture]))""",
    "cross-encoder": """from sentence_transformers import CrossEncoder

model = CrossEncoder({name}, trust_remote_code=True{more})  # runs the installed package xfm
model.predict([("a cat", picture), ("a dog", picture)])  # probabilities of a match""",
}


def write_sentence_folder(model: Path | str, out: Path, kind: str) -> str:
    """Write a model folder for sentence-transformers, as one of `FORMATS`; returns its use as Python.
    UserError: the model cannot answer the task, or `out` is taken or cannot be written."""
    from huggingface_hub import ModelCard

    task, module, settings = FORMATS[kind]
    if unused(out) != out:
        raise UserError(f"{out} holds something; name another folder, such as {free_name(out)}")
    folder = require_whole(model)
    loaded = load_model(folder)
    pipeline(task, loaded)  # refuses a model that could not answer
    way = _USE[kind]
    use = way.format(name="FOLDER", more="")
    card = ModelCard(model_card(loaded.model.config, loaded.artifacts))
    data: Any = card.data
    data.library_name = "sentence-transformers"
    card.text += f"\n## With sentence-transformers\n\n```python\n{use}\n```\n"
    with saving(out) as draft:
        for file in folder.iterdir():
            if file.suffix in (".json", ".safetensors"):
                shutil.copyfile(file, draft / file.name)
        write_text(draft / MODULES, as_json([{"idx": 0, "name": "0", "path": "", "type": module}]))
        write_text(draft / SETTINGS, as_json(settings | _SHARED))
        write_text(draft / CARD, str(card))
    return way.format(name=repr(str(out)), more=", local_files_only=True")  # else it asks the hub
