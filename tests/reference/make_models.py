#!/usr/bin/env python3
"""Make the small random models and their reference logits (Hugging Face transformers, float32).

Each model becomes NAME.gguf, laid out as llama.cpp's converter lays it out, and NAME.json with the
tokens and the logits at every position. For quantised files the weights are read back by
`gguf.quants.dequantize` and loaded into the Hugging Face model, so the logits belong exactly to the
weights in the file.
"""
import argparse
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers as hf

from fixture_gguf import N_VOCAB, T, add_vocabulary, encode

N_POSITIONS = 24
ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def llama_like(**kw):
    base = dict(vocab_size=N_VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
                rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters=ROPE,
                bos_token_id=259, eos_token_id=259)
    base.update(kw)
    return base


def gpt2_config(**kw):
    base = dict(vocab_size=N_VOCAB, n_positions=64, n_embd=64, n_layer=2, n_head=4, n_inner=96,
                activation_function="gelu_new", layer_norm_epsilon=1e-5, resid_pdrop=0.0,
                embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=259, eos_token_id=259)
    base.update(kw)
    return hf.GPT2Config(**base)


def wide_llama():
    return hf.LlamaConfig(**llama_like(hidden_size=256, intermediate_size=256, num_hidden_layers=1,
                                       num_attention_heads=8, num_key_value_heads=2))


def rope(kind, **kw):
    return {"rope_type": kind, "rope_theta": 10000.0, **kw}


K_MIX = {"token_embd": T.Q6_K, "attn_qkv": T.Q5_K, "attn_output": T.Q4_K, "ffn_up": T.Q4_K,
         "ffn_down": T.Q6_K}
LLAMA3 = rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=512)

# name: (architecture in GGUF, pre-tokenizer, Hugging Face config, matrix type or {tensor: type})
MODELS = {
    "llama-gqa": ("llama", "llama-bpe", lambda: hf.LlamaConfig(**llama_like(
        tie_word_embeddings=False)), T.F32),
    "llama-tied": ("llama", "smollm", lambda: hf.LlamaConfig(**llama_like(
        num_key_value_heads=1)), T.F32),
    "llama-linear": ("llama", "llama-bpe", lambda: hf.LlamaConfig(**llama_like(
        rope_parameters=rope("linear", factor=4.0), num_hidden_layers=1)), T.F32),
    "llama-llama3": ("llama", "llama-bpe", lambda: hf.LlamaConfig(**llama_like(
        rope_parameters=LLAMA3, num_hidden_layers=1)), T.F32),
    "llama-yarn": ("llama", "llama-bpe", lambda: hf.LlamaConfig(**llama_like(
        rope_parameters=YARN, max_position_embeddings=2048, num_hidden_layers=1)), T.F32),
    # head_dim 32 with width 64 and 4 heads: the query is wider than the model.
    "mistral": ("llama", "default", lambda: hf.MistralConfig(**llama_like(
        head_dim=32, sliding_window=None, num_hidden_layers=1, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6})), T.F32),
    "qwen2": ("qwen2", "qwen2", lambda: hf.Qwen2Config(**llama_like(
        rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 1e6})), T.F32),
    "qwen3": ("qwen3", "qwen2", lambda: hf.Qwen3Config(**llama_like(
        head_dim=32, rms_norm_eps=1e-6, num_hidden_layers=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6})), T.F32),
    "gpt2": ("gpt2", "gpt-2", gpt2_config, T.F32),
    "llama-f16": ("llama", "llama-bpe", lambda: hf.LlamaConfig(**llama_like()), T.F16),
    "llama-bf16": ("llama", "llama-bpe", lambda: hf.LlamaConfig(**llama_like()), T.BF16),
    "gpt2-q8_0": ("gpt2", "gpt-2", gpt2_config, T.Q8_0),
    "llama256-q8_0": ("llama", "llama-bpe", wide_llama, T.Q8_0),
    "llama256-q4_0": ("llama", "llama-bpe", wide_llama, T.Q4_0),
    "llama256-q4_k": ("llama", "llama-bpe", wide_llama, T.Q4_K),
    "llama256-q5_k": ("llama", "llama-bpe", wide_llama, T.Q5_K),
    "llama256-q6_k": ("llama", "llama-bpe", wide_llama, T.Q6_K),
    "gpt2-256-kmix": ("gpt2", "gpt-2", lambda: gpt2_config(
        n_embd=256, n_inner=256, n_layer=1, n_head=8, n_positions=32), K_MIX),
}

LLAMA_NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GPT2_NAMES = {
    "transformer.wte": "token_embd", "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}


def gguf_name(name, arch):
    """Translate a Hugging Face parameter name; returns (GGUF name, stem)."""
    stem, suffix = name.rsplit(".", 1)
    names = GPT2_NAMES if arch == "gpt2" else LLAMA_NAMES
    prefix = ""
    for start in ("model.layers.", "transformer.h."):
        if stem.startswith(start):
            i_layer, stem = stem[len(start):].split(".", 1)
            prefix = f"blk.{i_layer}."
    return f"{prefix}{names[stem]}.{suffix}", names[stem]


def interleave(a, n_head):
    """Rows of one head from [first halves, second halves] to adjacent pairs (llama's RoPE layout)."""
    half = a.shape[0] // n_head // 2
    return a.reshape(n_head, 2, half, *a.shape[1:]).swapaxes(1, 2).reshape(a.shape)


def deinterleave(a, n_head):
    half = a.shape[0] // n_head // 2
    return a.reshape(n_head, half, 2, *a.shape[1:]).swapaxes(1, 2).reshape(a.shape)


def randomise(model, rng):
    """Weights of unit gain, peaked attention, uneven norms and visible biases."""
    for name, p in model.named_parameters():
        shape = tuple(p.shape)
        if p.ndim == 1:
            a = rng.normal(0, 0.2, shape)
            if name.endswith("weight"):
                a += 1.0
        elif "embed" in name or "wte" in name or "wpe" in name or "lm_head" in name:
            a = rng.normal(0, 0.35 if shape[1] < 256 else 0.18, shape)
        else:
            n_in = shape[0] if model.config.model_type == "gpt2" else shape[1]
            gain = 1.6 if any(s in name for s in ("q_proj", "k_proj", "c_attn")) else 1.0
            a = rng.normal(0, gain / np.sqrt(n_in), shape)
        p.data.copy_(torch.from_numpy(a.astype(np.float32)))


def heads_of(stem, c):
    if stem == "attn_q":
        return c.num_attention_heads
    return c.num_key_value_heads if stem == "attn_k" else 0


def add_tensors(w, model, arch, kinds, rng):
    """Write every parameter and load back into the model what the file really says."""
    c = model.config
    for name, p in model.named_parameters():
        out_name, stem = gguf_name(name, arch)
        a = p.detach().numpy()
        turn = arch == "gpt2" and p.ndim == 2 and stem not in ("token_embd", "position_embd")
        pairs = heads_of(stem, c) if arch == "llama" else 0
        a = a.T if turn else interleave(a, pairs) if pairs else a
        kind = kinds.get(stem, T.F32) if isinstance(kinds, dict) else kinds
        if p.ndim == 1 or stem == "position_embd":
            kind = T.F32
        data, exact = encode(a, kind, rng)
        w.add_tensor(out_name, data, raw_dtype=None if kind in (T.F32, T.F16) else kind)
        exact = exact.T if turn else deinterleave(exact, pairs) if pairs else exact
        p.data.copy_(torch.from_numpy(np.ascontiguousarray(exact)))


def llama3_factors(c):
    """Divisors of the RoPE frequencies, as llama.cpp's converter writes rope_freqs.weight."""
    p = c.rope_parameters
    low = p["original_max_position_embeddings"] / p["low_freq_factor"]
    high = p["original_max_position_embeddings"] / p["high_freq_factor"]
    factors = []
    for i in range(0, c.head_dim, 2):
        wave = 2 * np.pi * p["rope_theta"] ** (i / c.head_dim)
        if wave < high:
            factors.append(1.0)
        elif wave > low:
            factors.append(p["factor"])
        else:
            smooth = (p["original_max_position_embeddings"] / wave - p["low_freq_factor"]) / (
                p["high_freq_factor"] - p["low_freq_factor"])
            factors.append(1 / ((1 - smooth) / p["factor"] + smooth))
    return np.array(factors, dtype=np.float32)


def add_metadata(w, name, arch, c, file_type):
    w.add_name(f"hsd reference {name}")
    w.add_license("Apache-2.0")
    w.add_file_type(file_type)
    w.add_quantization_version(2)
    if arch == "gpt2":
        w.add_context_length(c.n_positions)
        w.add_embedding_length(c.n_embd)
        w.add_feed_forward_length(c.n_inner)
        w.add_block_count(c.n_layer)
        w.add_head_count(c.n_head)
        w.add_layer_norm_eps(c.layer_norm_epsilon)
        return
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_block_count(c.num_hidden_layers)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    if head_dim != c.hidden_size // c.num_attention_heads:
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if arch == "llama":
        w.add_vocab_size(c.vocab_size)
        w.add_rope_dimension_count(head_dim)
    p = c.rope_parameters
    w.add_rope_freq_base(p["rope_theta"])
    if p["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(p["factor"])
    elif p["rope_type"] == "yarn":
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        w.add_rope_scaling_factor(p["factor"])
        w.add_rope_scaling_orig_ctx_len(p["original_max_position_embeddings"])
    elif p["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_factors(c))


def file_type(kinds):
    f = gguf.LlamaFileType
    if isinstance(kinds, dict):
        return f.MOSTLY_Q4_K_M
    return {T.F32: f.ALL_F32, T.F16: f.MOSTLY_F16, T.BF16: f.MOSTLY_BF16, T.Q8_0: f.MOSTLY_Q8_0,
            T.Q4_0: f.MOSTLY_Q4_0, T.Q4_K: f.MOSTLY_Q4_K_M, T.Q5_K: f.MOSTLY_Q5_K_M,
            T.Q6_K: f.MOSTLY_Q6_K}[kinds]


def make(name, out):
    arch, pre, config, kinds = MODELS[name]
    c = config()
    c._attn_implementation = "eager"
    rng = np.random.default_rng([ord(x) for x in name])
    model = hf.AutoModelForCausalLM.from_config(c, dtype=torch.float32, attn_implementation="eager")
    model.eval()
    randomise(model, rng)
    w = gguf.GGUFWriter(str(out / f"{name}.gguf"), arch)
    add_metadata(w, name, arch, c, file_type(kinds))
    add_vocabulary(w, pre)
    add_tensors(w, model, arch, kinds, rng)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    tokens = rng.integers(0, N_VOCAB - 1, N_POSITIONS).tolist()
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].numpy()
    write_json(out / f"{name}.json", name, tokens, logits)
    top = np.sort(logits, axis=1)
    print(f"{name:16s} {(out / f'{name}.gguf').stat().st_size:8d} bytes, logits std "
          f"{logits.std():.2f}, least top-2 gap {np.min(top[:, -1] - top[:, -2]):.4f}")


def write_json(path, name, tokens, logits):
    rows = ["[" + ",".join(str(x) for x in row) + "]" for row in logits]
    head = json.dumps({"model": f"{name}.gguf", "tokens": tokens, "n_vocab": logits.shape[1],
                       "shape": list(logits.shape)})
    path.write_text(head[:-1] + ', "logits":[\n' + ",\n".join(rows) + "\n]}\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("names", nargs="*", help="default: all")
    ap.add_argument("--out", default=str(pathlib.Path(__file__).parent / "fixtures"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in args.names or MODELS:
        make(name, out)
    print(f"python {sys.version.split()[0]}, torch {torch.__version__}, transformers "
          f"{hf.__version__}, numpy {np.__version__}")


if __name__ == "__main__":
    main()
