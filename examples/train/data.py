"""Token streams for training and held-out loss.

Every sequence begins with `<|endoftext|>` (the BOS of the shipped files), at a document start for
tasks and at a paragraph start for stories, and is always full: all 512 positions are trained.
"""
import pathlib

import numpy as np
import torch
from tokenizers import Tokenizer

from train_tokenizer import EOT, read_documents


def load_tokenizer(path):
    return Tokenizer.from_file(str(path))


def encode_documents(tok, documents):
    """Return (tokens [n] u16, starts [n_doc] i64); each document is followed by EOT."""
    eot = tok.token_to_id(EOT)
    parts, starts, n = [], [], 0
    for i in range(0, len(documents), 256):
        for e in tok.encode_batch(documents[i : i + 256], add_special_tokens=False):
            part = np.array(e.ids + [eot], dtype=np.uint16)
            parts.append(part)
            starts.append(n)
            n += len(part)
    return np.concatenate(parts), np.array(starts, dtype=np.int64)


def load_stream(path, tok, cache_dir):
    """Encode a corpus file once and keep the result under cache_dir."""
    path = pathlib.Path(path)
    cache = pathlib.Path(cache_dir) / (path.name + ".npz")
    if not cache.exists():
        tokens, starts = encode_documents(tok, read_documents(path))
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, tokens=tokens, starts=starts)
    z = np.load(cache)
    return z["tokens"], z["starts"]


def paragraph_starts(tokens, newline):
    """Positions that follow a blank line (two newline tokens)."""
    nl = tokens == newline
    return np.flatnonzero(nl[:-1] & nl[1:]) + 2


class Mixture:
    """Endless shuffled sequences; `task_share` of them are tasks, the rest stories."""

    def __init__(self, corpus, tok, cache_dir, n_ctx, task_share, seed):
        corpus = pathlib.Path(corpus)
        self.eot = tok.token_to_id(EOT)
        self.n_ctx = n_ctx
        self.task_share = task_share
        self.rng = np.random.default_rng(seed)
        stories, book_starts = load_stream(corpus / "stories.txt.xz", tok, cache_dir)
        tasks, task_starts = load_stream(corpus / "tasks_train.txt.xz", tok, cache_dir)
        newline = tok.encode("\n").ids[0]
        para = np.union1d(book_starts, paragraph_starts(stories, newline))
        self.streams = [stories, tasks]
        self.starts = [
            para[para + n_ctx < len(stories)],
            task_starts[task_starts + n_ctx < len(tasks)],
        ]
        self.order = [None, None]
        self.used = [0, 0]
        self.n_drawn = 0
        self.n_tasks = 0
        self._orders()

    def _orders(self):
        # A start is taken so that starts used close together in time are far apart in the text:
        # every n-th start, n about the starts per sequence, with a random phase per pass.
        for s in (0, 1):
            if self.order[s] is None or self.used[s] >= len(self.order[s]):
                stream, starts = self.streams[s], self.starts[s]
                stride = max(1, round(self.n_ctx * len(starts) / len(stream)))
                picked = starts[self.rng.integers(stride) :: stride]
                self.order[s] = self.rng.permutation(picked)
                self.used[s] = 0

    def sequence(self):
        self.n_drawn += 1
        s = int(self.n_tasks < round(self.n_drawn * self.task_share))
        self.n_tasks += s
        self._orders()
        at = self.order[s][self.used[s]]
        self.used[s] += 1
        return np.concatenate(([self.eot], self.streams[s][at : at + self.n_ctx])).astype(np.int64)

    def batch(self, n_seq):
        """Return tokens [n_seq, n_ctx + 1] i64: inputs are [:, :-1], targets [:, 1:]."""
        return torch.from_numpy(np.stack([self.sequence() for _ in range(n_seq)]))


def heldout_sequences(corpus, tok, cache_dir, n_ctx, n_seq):
    """n_seq evenly spaced held-out story sequences [n_seq, n_ctx + 1], EOT first."""
    tokens, _ = load_stream(pathlib.Path(corpus) / "stories_heldout.txt.xz", tok, cache_dir)
    para = paragraph_starts(tokens, tok.encode("\n").ids[0])
    para = para[para + n_ctx < len(tokens)]
    at = para[np.linspace(0, len(para) - 1, n_seq).astype(int)]
    eot = tok.token_to_id(EOT)
    rows = [np.concatenate(([eot], tokens[a : a + n_ctx])).astype(np.int64) for a in at]
    return torch.from_numpy(np.stack(rows))
