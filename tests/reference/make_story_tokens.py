#!/usr/bin/env python3
"""Make story_tokens.json: token ids of hard strings in the vocabulary of the shipped pair.

The vocabulary is read from the GGUF file; the ids are those of Hugging Face `tokenizers`, without
BOS. `<|endoftext|>` inside a text is the control token.
"""
import argparse
import json
import pathlib

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from make_pretok import TEXTS

HERE = pathlib.Path(__file__).parent
MORE = [
    "Once upon a time there was a little girl who lived in a wood.",
    "### User:\nTranslate the words into digits:\none hundred and forty-six\n### Assistant:\n",
    "One.\n<|endoftext|>### User:\nTwo<|endoftext|>",
    "",
]


def load(path):
    r = gguf.GGUFReader(path)
    tokens = r.get_field("tokenizer.ggml.tokens").contents()
    merges = [tuple(m.split(" ")) for m in r.get_field("tokenizer.ggml.merges").contents()]
    types = r.get_field("tokenizer.ggml.token_type").contents()
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t, k in zip(tokens, types) if k == gguf.TokenType.CONTROL])
    return tok


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--model", default=str(HERE / "../../models/hsd-story-target.gguf"))
    ap.add_argument("--out", default=str(HERE / "fixtures/story_tokens.json"))
    args = ap.parse_args()
    tok = load(args.model)
    rows = []
    for text in MORE + TEXTS:
        ids = tok.encode(text, add_special_tokens=False).ids
        assert tok.decode(ids, skip_special_tokens=False) == text
        rows.append(json.dumps({"text": text, "tokens": ids}))
    pathlib.Path(args.out).write_text("[\n" + ",\n".join(rows) + "\n]\n")
    print(f"{len(rows)} texts")


if __name__ == "__main__":
    main()
