"""infinity-emb as a server to compare with, on a BERT of the size of `small`, made without a download."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAKE = """
import sys
from pathlib import Path
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
folder = Path(sys.argv[1])
torch.manual_seed(0)
config = BertConfig(vocab_size=3000, hidden_size=192, num_hidden_layers=4, num_attention_heads=4,
    intermediate_size=768, max_position_embeddings=130)
BertModel(config).save_pretrained(folder)
fast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(sys.argv[2]), model_max_length=128,
    bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>",
    unk_token="<unk>", mask_token="<mask>")
fast.save_pretrained(folder)
"""


@contextmanager
def infinity(python: str, folder: Path, seconds: float = 180) -> Iterator[str]:
    """The address of a server of infinity-emb; the model is called `peer`.

    Args:
        python: an interpreter that has it, with torch.
        folder: for the model.
        seconds: in which it must listen.
    """
    import xfm

    tokenizer = Path(xfm.__file__).parent / "models" / "shipped" / "small" / "tokenizer.json"
    place = folder / "peer"
    subprocess.run([python, "-c", _MAKE, str(place), str(tokenizer)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(Path(python).with_name("infinity_emb")),
        "v2",
        "--model-id",
        str(place),
        "--served-model-name",
        "peer",
    ]
    command += ["--engine", "torch", "--device", "cpu", "--no-bettertransformer", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--url-prefix", "/v1"]
    log = (folder / "infinity.txt").open("w")
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + seconds
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"infinity-emb does not serve: {(folder / 'infinity.txt').read_text()[-2000:]}"
                )
            time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _answers(address: str) -> bool:
    body = json.dumps({"model": "peer", "input": ["a"]}).encode()
    asked = urllib.request.Request(f"{address}/v1/embeddings", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False
