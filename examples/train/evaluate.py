#!/usr/bin/env python3
"""Measure an exported pair: held-out loss, early exits, agreement of draft and target, samples.

Everything is computed from the GGUF files (weights dequantised to float32), not from checkpoints.
`--expect` writes greedy continuations with the smallest distance between the two best logits, for
tests of the engine.
"""
import argparse
import json
import pathlib

import gguf
import torch
import torch.nn.functional as F
from gguf.quants import dequantize

import data
from model import GPT2, Config
from train import EXITS, heldout_loss
from train_tokenizer import EOT, read_documents


def load_gguf(path):
    r = gguf.GGUFReader(path)
    get = lambda key: r.get_field(f"gpt2.{key}").contents()
    n_vocab = len(r.get_field("tokenizer.ggml.tokens").data)
    model = GPT2(Config(n_vocab, get("context_length"), get("embedding_length"),
                        get("block_count"), get("attention.head_count")))
    weights = {}
    for t in r.tensors:
        shape = [int(n) for n in reversed(t.shape)]
        weights[t.name] = torch.from_numpy(dequantize(t.data, t.tensor_type).copy()).view(shape)
    model.load_state_dict(weights)
    return model.requires_grad_(False).eval()


def step(model, tokens, cache, n_past):
    """Logits [n_vocab] after one sequence's `tokens`; cache holds k and v of the n_past before."""
    x = model.token_embd(tokens) + model.position_embd.weight[n_past : n_past + len(tokens)]
    for i, b in enumerate(model.blk):
        q, k, v = b.attn_qkv(b.attn_norm(x)).view(len(tokens), 3, b.n_head, -1).permute(1, 2, 0, 3)
        if n_past:
            k, v = torch.cat([cache[i][0], k], dim=1), torch.cat([cache[i][1], v], dim=1)
        cache[i] = (k, v)
        y = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=len(tokens) > 1)
        x = x + b.attn_output(y[0].transpose(0, 1).flatten(1))
        x = x + b.ffn_down(F.gelu(b.ffn_up(b.ffn_norm(x)), approximate="tanh"))
    return model.head(x[-1])


def greedy(model, prompt, n_new, eot):
    """Return (new tokens, smallest top-2 gap, logits after the prompt); stops after `eot`."""
    cache, out, gap, first = {}, [], float("inf"), None
    tokens, n_past = torch.tensor(prompt), 0
    for _ in range(min(n_new, model.config.n_ctx - len(prompt))):
        logits = step(model, tokens, cache, n_past)
        first = logits if first is None else first
        top = logits.topk(2)
        gap = min(gap, (top.values[0] - top.values[1]).item())
        out.append(int(top.indices[0]))
        n_past += len(tokens)
        tokens = top.indices[:1]
        if out[-1] == eot:
            break
    return out, gap, first


def prompts(args, tok):
    """(family, text, reference or None): the first of each task family, then story openings."""
    seen, out = {}, []
    for line in open(pathlib.Path(args.corpus) / "tasks_dev.jsonl", encoding="utf-8"):
        p = json.loads(line)
        if len(tok.encode(p["prompt"]).ids) > 400:
            continue
        seen[p["family"]] = seen.get(p["family"], 0) + 1
        if seen[p["family"]] <= args.per_family:
            out.append((p["family"], p["prompt"], p["reference"]))
    for book in read_documents(pathlib.Path(args.corpus) / "stories_heldout.txt.xz"):
        paragraphs = [p for p in book.split("\n\n") if 150 < len(p) < 400]
        take = -(-args.per_family // 4)
        for p in paragraphs[:: len(paragraphs) // take][:take]:
            out.append(("stories", p[: p.rindex(" ", 0, 120)], None))
    return out


def sources(target, draft, tokens, n_prompt):
    """What each source says where the target says its greedy token: {source: logits [n_new, v]}."""
    rows = torch.tensor(tokens)[None, :-1]
    kept = target.hidden(rows, EXITS)
    out = {f"exit {i}": target.head(kept[i][0, n_prompt - 1 :]) for i in EXITS}
    out["draft"] = draft(rows)[0, n_prompt - 1 :]
    return out


def agreement(target, draft, tok, asked, n_new):
    eot = tok.token_to_id(EOT)
    table, exact, samples = {}, {}, []
    for family, text, reference in asked:
        prompt = [eot] + tok.encode(text, add_special_tokens=False).ids
        new, gap, first = greedy(target, prompt, n_new, eot)
        said = tok.decode(new, skip_special_tokens=False)
        samples.append({"family": family, "prompt": text, "prompt_tokens": prompt, "tokens": new,
                        "text": said, "min_top2_gap": round(gap, 5), "first_logits": first})
        if reference is not None:
            hit = said.removesuffix(EOT).strip() == reference.strip()
            exact[family] = exact.get(family, 0) + hit
        want = torch.tensor(new)[:, None]
        for source, logits in sources(target, draft, prompt + new, len(prompt)).items():
            best = logits.topk(8).indices
            t = table.setdefault(family, {}).setdefault(source, [0, 0, 0])
            t[0] += int((best[:, :1] == want).sum())
            t[1] += int((best == want).any(1).sum())
            t[2] += len(new)
    return table, exact, samples


def show_table(table, exact, asked):
    print("| family | draft top-1 | draft top-8 | exit 4 top-1 | exit 4 top-8 | exit 6 top-1 "
          "| exit 6 top-8 | tokens | exact answers |")
    print("|---|---|---|---|---|---|---|---|---|")
    total = {}
    for family, row in [*table.items(), ("all", total)]:
        cells = []
        for source in ("draft", "exit 4", "exit 6"):
            hit1, hit8, n = row[source]
            cells += [f"{hit1 / n:.3f}", f"{hit8 / n:.3f}"]
            if family != "all":
                t = total.setdefault(source, [0, 0, 0])
                total[source] = [a + b for a, b in zip(t, row[source])]
        n_asked = sum(f == family for f, _, r in asked if r is not None)
        score = f"{exact[family]} of {n_asked}" if family in exact else "-"
        print(f"| {family} | {' | '.join(cells)} | {n} | {score} |")


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--target", default="models/hsd-story-target.gguf")
    ap.add_argument("--draft", default="models/hsd-story-draft.gguf")
    ap.add_argument("--corpus", default="../shared/data/corpus")
    ap.add_argument("--run", default="build/train", help="tokenizer.json and the token cache")
    ap.add_argument("--heldout", type=int, default=100, help="held-out sequences of 512 tokens")
    ap.add_argument("--per-family", type=int, default=12)
    ap.add_argument("--new", type=int, default=96)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--samples", help="write the samples as text")
    ap.add_argument("--expect", help="write greedy continuations as JSON lines")
    args = ap.parse_args()

    torch.set_num_threads(args.threads)
    tok = data.load_tokenizer(pathlib.Path(args.run) / "tokenizer.json")
    target, draft = load_gguf(args.target), load_gguf(args.draft)
    rows = data.heldout_sequences(args.corpus, tok, args.run, target.config.n_ctx, args.heldout)
    print(f"parameters: target {target.n_params()}, draft {draft.n_params()}")
    print(f"held-out story loss over {rows[:, 1:].numel()} tokens, nats per token:")
    for layer, loss in heldout_loss(target, rows, EXITS).items():
        print(f"  target after layer {layer}: {loss:.3f}")
    print(f"  draft: {list(heldout_loss(draft, rows).values())[0]:.3f}")
    asked = prompts(args, tok)
    table, exact, samples = agreement(target, draft, tok, asked, args.new)
    show_table(table, exact, asked)
    if args.samples:
        with open(args.samples, "w", encoding="utf-8") as f:
            for s in samples:
                f.write(f"--- {s['family']}\n{s['prompt']}>>>{s['text']}\n")
    if args.expect:
        with open(args.expect, "w", encoding="utf-8") as f:
            for s in samples:
                first = [float(str(x)) for x in s.pop("first_logits")[:64].numpy()]
                f.write(json.dumps({**s, "first_logits": first}) + "\n")


if __name__ == "__main__":
    main()
