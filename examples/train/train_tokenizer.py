#!/usr/bin/env python3
"""Train the byte-level BPE (4,096 entries) shared by the shipped target and draft.

Stories and tasks are mixed so that both kinds of text compress well. `<|endoftext|>` is the only
special token: it separates documents, begins a prompt (BOS) and ends an answer (EOS).
"""
import argparse
import lzma
import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

N_VOCAB = 4096
EOT = "<|endoftext|>"


def read_documents(path):
    """Return the documents of a corpus file, `<|endoftext|>` removed."""
    path = pathlib.Path(path)
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as f:
        return [d.lstrip("\n") for d in f.read().split(EOT) if d.strip()]


def chunks(documents, size_chars):
    """Cut long documents: the trainer counts words, so a cut changes next to nothing."""
    for d in documents:
        for i in range(0, len(d), size_chars):
            yield d[i : i + size_chars]


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--corpus", default="../shared/data/corpus")
    ap.add_argument("--out", default="build/train/tokenizer.json")
    args = ap.parse_args()

    corpus = pathlib.Path(args.corpus)
    stories = read_documents(corpus / "stories.txt.xz")
    tasks = read_documents(corpus / "tasks_train.txt.xz")

    tok = Tokenizer(models.BPE())
    # The byte-level pre-tokenizer's own pattern is GPT-2's.
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB,
        special_tokens=[EOT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tok.train_from_iterator(chunks(stories + tasks, 20000), trainer)
    if tok.get_vocab_size() != N_VOCAB:
        raise SystemExit(f"vocabulary has {tok.get_vocab_size()} entries, not {N_VOCAB}")
    out = pathlib.Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    tok.save(str(out))
    sample = "".join(tasks[:200])
    print(f"tasks: {len(sample.encode()) / len(tok.encode(sample).ids):.2f} bytes per token")
    sample = stories[0][:200000]
    print(f"stories: {len(sample.encode()) / len(tok.encode(sample).ids):.2f} bytes per token")


if __name__ == "__main__":
    main()
