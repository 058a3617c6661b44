"""llama.cpp through the low-level calls of the PyPI package `llama-cpp-python`.

Only llama_decode and what waits for it is timed, neither sampling nor this file's own loops: the
comparison may favour llama.cpp, never hsd. Its settings are its defaults but for threads, context
and batch size; it runs on the processor.
"""
import ctypes
import time

import llama_cpp
import numpy as np


@llama_cpp.llama_log_callback
def _quiet(_level, _text, _user):
    """llama.cpp's log lines are not wanted here."""


def begin():
    """Once, before the first model."""
    llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()


def version():
    return f"llama-cpp-python {llama_cpp.__version__}"


class LlamaCpp:
    """A model with one sequence of text."""

    def __init__(self, path, n_threads, n_ctx):
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.n_ctx = min(n_ctx, llama_cpp.llama_model_n_ctx_train(self.model))
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.n_ctx
        params.n_batch = params.n_ubatch = max(512, self.n_ctx)
        params.n_threads = params.n_threads_batch = n_threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.memory = llama_cpp.llama_get_memory(self.context)
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
        self.batch = llama_cpp.llama_batch_init(self.n_ctx, 0, 1)
        self.seconds = 0.0  # in llama_decode since it was last set to 0
        self.prompt = []  # that the caches begin with

    def close(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def forget(self, first):
        """Drop what is at positions from `first` on."""
        llama_cpp.llama_memory_seq_rm(self.memory, 0, first, -1)

    def decode(self, tokens, first, n_logits=1):
        """One llama_decode of tokens at positions from `first`, with logits of the last n_logits.
        Returns its seconds."""
        n = len(tokens)
        self.batch.n_tokens = n
        for i, token in enumerate(tokens):
            self.batch.token[i] = token
            self.batch.pos[i] = first + i
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = 0
            self.batch.logits[i] = i >= n - n_logits
        begin_s = time.perf_counter()
        status = llama_cpp.llama_decode(self.context, self.batch)
        llama_cpp.llama_synchronize(self.context)
        seconds = time.perf_counter() - begin_s
        if status != 0:
            raise RuntimeError(f"llama_decode: {status}")
        self.seconds += seconds
        return seconds

    def begin(self, prompt):
        """The prompt alone is in the caches, with the logits of its last token."""
        n_known = len(prompt) - 1 if list(prompt) == self.prompt else 0
        self.forget(n_known)
        self.decode(prompt[n_known:], n_known)
        self.prompt = list(prompt)
        self.seconds = 0.0

    def logits(self, n_logits=1):
        """[n_logits, n_vocab] of the last decode."""
        pointer = llama_cpp.llama_get_logits(self.context)
        return np.ctypeslib.as_array(pointer, shape=(n_logits * self.n_vocab,)).reshape(n_logits, -1)

    def any_tokens(self, n):
        """For times: a text of no sense."""
        return [i % (self.n_vocab - 4) + 3 for i in range(n)]


class Choice:
    """The token that follows: the best, or drawn at temperature 1."""

    def __init__(self, temperature, seed):
        self.is_drawn = temperature > 0
        self.random = np.random.default_rng(seed)

    def pick(self, logits):
        if self.is_drawn:
            logits = logits + self.random.gumbel(size=logits.shape)
        return int(np.argmax(logits))


def plain(target, prompt, n_tokens, choice):
    """(tokens, seconds of decoding them behind the prompt)"""
    target.begin(prompt)
    token, out = choice.pick(target.logits()[0]), []
    while True:
        out.append(token)
        if len(out) == n_tokens:
            return out, target.seconds
        target.decode([token], len(prompt) + len(out) - 1)
        token = choice.pick(target.logits()[0])


def _draft(draft, tokens, n_known, n_drafted, least):
    """The draft's best chain behind `tokens`, of which it has n_known, up to the first token that
    it gives less than the probability `least`; and what it has in its caches then."""
    draft.forget(n_known)
    draft.decode(tokens[n_known:], n_known)
    n_known, chain = len(tokens), []
    while True:
        logits = draft.logits()[0]
        best = int(np.argmax(logits))
        if least > 0 and 1.0 / np.exp(logits - logits[best]).sum() < least:
            return chain, n_known
        chain.append(best)
        if len(chain) == n_drafted:
            return chain, n_known
        draft.decode(chain[-1:], n_known)
        n_known += 1


def speculative(target, draft, prompt, n_tokens, window, choice, least=0.0):
    """The same with chains of up to `window` drafted tokens, all of which one llama_decode of the
    target verifies: a drafted token is accepted where it is the one that the target's choice takes.
    A chain ends before a token that the draft gives less than `least`.
    (tokens, seconds, drafted, accepted, passes of the target)"""
    for model in (target, draft):
        model.begin(prompt)
    text = list(prompt) + [choice.pick(target.logits()[0])]
    n_known, drafted, accepted, passes = len(prompt), 0, 0, 0
    while len(text) - len(prompt) < n_tokens:
        n_window = min(window, n_tokens - (len(text) - len(prompt)) - 1)
        chain = []
        if n_window > 0:
            chain, n_known = _draft(draft, text, n_known, n_window, least)
            n_window = len(chain)
        first = len(text) - 1
        target.decode(text[-1:] + chain, first, n_window + 1)
        logits, n = target.logits(n_window + 1), 0
        token = choice.pick(logits[0])
        while n < n_window and token == chain[n]:
            n += 1
            token = choice.pick(logits[n])
        n_known = min(len(text) + n, n_known)
        text += chain[:n] + [token]
        target.forget(first + 1 + n)
        drafted, accepted, passes = drafted + n_window, accepted + n, passes + 1
    return text[len(prompt):], target.seconds + draft.seconds, drafted, accepted, passes
