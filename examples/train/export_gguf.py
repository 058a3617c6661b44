#!/usr/bin/env python3
"""Write a checkpoint of train.py as a GGUF v3 file of architecture gpt2.

Matrices are Q8_0; 1-D tensors and the position table stay F32. The head is tied: there is no
output.weight. `<|endoftext|>` is BOS and EOS, and add_bos_token is true because every training
sequence began with it.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np
from gguf.quants import quantize

from model import LN_EPS
from train import load_model
from train_tokenizer import EOT

Q8_0 = gguf.GGMLQuantizationType.Q8_0


def add_tokenizer(w, path):
    spec = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    vocab = spec["model"]["vocab"]
    tokens = [None] * len(vocab)
    for text, i in vocab.items():
        tokens[i] = text
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]]
    eot = vocab[EOT]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if i == eot else gguf.TokenType.NORMAL
                       for i in range(len(tokens))])
    w.add_token_merges(merges)
    w.add_bos_token_id(eot)
    w.add_eos_token_id(eot)
    w.add_add_bos_token(True)


def add_tensors(w, model):
    for name, p in model.state_dict().items():
        a = np.ascontiguousarray(p.numpy().astype(np.float32))
        if a.ndim == 2 and name != "position_embd.weight":
            w.add_tensor(name, quantize(a, Q8_0), raw_dtype=Q8_0)
        else:
            w.add_tensor(name, a)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("checkpoint")
    ap.add_argument("out")
    ap.add_argument("--tokenizer", default="build/train/tokenizer.json")
    args = ap.parse_args()

    model, state = load_model(args.checkpoint)
    c = model.config
    w = gguf.GGUFWriter(args.out, "gpt2")
    w.add_name(f"hsd story {state['shape']}")
    w.add_license("Apache-2.0")
    w.add_context_length(c.n_ctx)
    w.add_embedding_length(c.n_embd)
    w.add_feed_forward_length(4 * c.n_embd)
    w.add_block_count(c.n_layer)
    w.add_head_count(c.n_head)
    w.add_layer_norm_eps(LN_EPS)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    w.add_quantization_version(2)
    add_tokenizer(w, args.tokenizer)
    add_tensors(w, model)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    size = pathlib.Path(args.out).stat().st_size
    print(f"{args.out}: {model.n_params()} parameters, {size} bytes, {state['n_tokens']} tokens trained")


if __name__ == "__main__":
    main()
