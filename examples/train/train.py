#!/usr/bin/env python3
"""Train the shipped target or draft against a wall-time budget.

The learning rate follows the elapsed share of `--minutes`, so a busy machine shortens the run in
tokens, not in schedule. The target carries a small early-exit loss: the same final norm and tied
head on the output of layer 4 or 6, by turns. The draft may end with a share of distillation
(KL to the target's distribution).
"""
import argparse
import json
import math
import os
import pathlib
import tempfile
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F

import data
from model import GPT2, SHAPES

EXITS = (4, 6)


def learning_rate(share, peak):
    """Linear warm-up over the first 2 %, then cosine to 3 % of the peak."""
    if share < 0.02:
        return peak * max(share, 1e-3) / 0.02
    c = 0.5 * (1 + math.cos(math.pi * min(1.0, (share - 0.02) / 0.98)))
    return peak * (0.03 + 0.97 * c)


def cross_entropy(logits, targets):
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def orthogonal(m, steps=5):
    """Newton-Schulz iteration: the nearest semi-orthogonal matrix of each of m [n, rows, cols]."""
    flip = m.shape[-2] > m.shape[-1]
    x = m.mT if flip else m
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if flip else x


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are made orthogonal, scaled to AdamW's usual update size.

    Equal shapes go through the iteration together; the fused q, k, v weight counts as three.
    """

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            shapes = {}
            for p in g["params"]:
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                m.mul_(g["momentum"]).add_(p.grad)
                square = 3 if p.shape[0] == 3 * p.shape[1] else 1
                update = p.grad.add(m, alpha=g["momentum"]).view(square, -1, p.shape[1])
                shapes.setdefault(update.shape, []).append((p, update))
            for shape, pairs in shapes.items():
                scale = 0.2 * max(shape[1:]) ** 0.5
                done = orthogonal(torch.cat([u for _, u in pairs])).split(shape[0])
                for (p, _), u in zip(pairs, done):
                    p.mul_(1 - g["lr"] * g["weight_decay"])
                    p.add_(u.reshape(p.shape), alpha=-g["lr"] * scale)


def optimizers_for(model, lr):
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms and biases."""
    matrices = [p for n, p in model.named_parameters() if n.startswith("blk") and p.ndim == 2]
    rest = [p for n, p in model.named_parameters() if not (n.startswith("blk") and p.ndim == 2)]
    adam = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0,
                             foreach=True)
    return [Muon(matrices, lr), adam]


@torch.no_grad()
def heldout_loss(model, rows, exits=()):
    """Mean nats per token over rows [n, n_ctx + 1], for each exit and the last layer."""
    sums = {}
    for r in rows.split(4):
        for layer, h in model.hidden(r[:, :-1], exits).items():
            sums[layer] = sums.get(layer, 0.0) + cross_entropy(model.head(h), r[:, 1:]).item() * len(r)
    return {layer: s / len(rows) for layer, s in sums.items()}


def save(path, model, opts, state):
    tmp = str(path) + ".tmp"
    torch.save({"shape": state["shape"], "model": model.state_dict(), "opts": [o.state_dict() for o in opts], "state": state}, tmp)
    os.replace(tmp, path)


def load_model(path):
    """Return (model, state) of a checkpoint written by this script."""
    ck = torch.load(path, map_location="cpu", weights_only=True)
    model = GPT2(SHAPES[ck["shape"]])
    model.load_state_dict(ck["model"])
    return model, ck["state"]


def loss_for(model, teacher, rows, step, exits, exit_weight):
    """Training loss and the plain next-token loss of the last layer (None when distilling)."""
    inputs, targets = rows[:, :-1], rows[:, 1:]
    if teacher is not None:
        with torch.no_grad():
            want = torch.log_softmax(teacher(inputs).float(), dim=-1)
        got = torch.log_softmax(model(inputs).float(), dim=-1)
        kl = F.kl_div(got.flatten(0, 1), want.flatten(0, 1), reduction="batchmean", log_target=True)
        return kl, None
    taken = (exits[step % len(exits)],) if exits else ()
    kept = model.hidden(inputs, taken)
    plain = cross_entropy(model.head(kept[len(model.blk)]), targets)
    loss = plain
    half = (len(rows) + 1) // 2  # half of the sequences are enough for the exit's gradient
    for layer in taken:
        loss = loss + exit_weight * cross_entropy(model.head(kept[layer][:half]), targets[:half])
    return loss, plain


def average(tensors, extra):
    """Average gradients over the workers in place; returns the averaged extra numbers."""
    flat = torch.cat([t.reshape(-1) for t in tensors] + [torch.tensor(extra)])
    if dist.is_initialized():
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
    at = 0
    for t in tensors:
        t.copy_(flat[at : at + t.numel()].view_as(t))
        at += t.numel()
    return flat[at:].tolist()


def start(args, rank):
    """Build what a worker needs; a checkpoint of the same name is resumed."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    run = pathlib.Path(args.run)
    tok = data.load_tokenizer(run / "tokenizer.json")
    shape = SHAPES[args.shape]
    model = GPT2(shape)
    opts = optimizers_for(model, args.lr)
    state = {"shape": args.shape, "step": 0, "n_tokens": 0, "n_tokens_distilled": 0,
             "elapsed_s": 0.0, "args": dict(vars(args))}
    path = run / f"{args.name or args.shape}.pt"
    if path.exists():
        ck = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(ck["model"])
        for opt, kept in zip(opts, ck.get("opts", [])):
            opt.load_state_dict(kept)
        state.update({k: v for k, v in ck["state"].items() if k != "args"})
    seed = args.seed + 1000 * rank + state["step"]
    mix = data.Mixture(args.corpus, tok, run, shape.n_ctx, args.task_share, seed)
    heldout = data.heldout_sequences(args.corpus, tok, run, shape.n_ctx, 32)
    return model, opts, state, path, mix, heldout


class Progress:
    """Prints and saves from the first worker."""

    def __init__(self, args, path, heldout, exits, state):
        self.args, self.path, self.heldout, self.exits = args, path, heldout, exits
        self.saved = self.printed = time.monotonic()
        self.tokens_at_print = state["n_tokens"]
        self.running = {}

    def step(self, model, opts, state, lr, shown, kind):
        self.running[kind] = 0.95 * self.running.get(kind, shown) + 0.05 * shown
        now = time.monotonic()
        if now - self.printed > 20:
            rate = (state["n_tokens"] - self.tokens_at_print) / (now - self.printed)
            print(f"step {state['step']} {state['elapsed_s'] / 60:.1f} min "
                  f"{state['n_tokens'] / 1e6:.2f}M tok {rate:.0f} tok/s lr {lr:.5f} "
                  f"{kind} {self.running[kind]:.3f}", flush=True)
            self.printed, self.tokens_at_print = now, state["n_tokens"]
        if now - self.saved > self.args.save_every:
            save(self.path, model, opts, state)
            print("held-out", heldout_loss(model, self.heldout[:8], self.exits), flush=True)
            self.saved = time.monotonic()

    def end(self, model, opts, state):
        save(self.path, model, opts, state)
        loss = heldout_loss(model, self.heldout, self.exits)
        print(json.dumps({**state, "heldout": loss}), flush=True)


def work(rank, args, meeting):
    if args.workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank,
                                world_size=args.workers)
    model, opts, state, path, mix, heldout = start(args, rank)
    teacher = None
    if args.teacher:
        teacher = load_model(args.teacher)[0].requires_grad_(False)
    exits = EXITS if args.shape == "target" and args.exit_weight > 0 else ()
    if rank == 0:
        print(f"{path.stem}: {model.n_params()} parameters", flush=True)
    progress = Progress(args, path, heldout, exits, state)
    params = list(model.parameters())
    begin = time.monotonic() - state["elapsed_s"]
    while state["elapsed_s"] < args.minutes * 60:
        share = state["elapsed_s"] / (args.minutes * 60)
        lr = learning_rate(share, args.lr)
        for g in (g for opt in opts for g in opt.param_groups):
            g["lr"] = lr
        distil = teacher is not None and share >= 1 - args.distil_share
        rows = mix.batch(args.batch // args.workers)
        loss, plain = loss_for(model, teacher if distil else None, rows, state["step"], exits,
                               args.exit_weight)
        loss.backward()
        shown = (loss if distil else plain).item()
        # The workers also agree on the elapsed time, so all end at the same step.
        elapsed, shown = average([p.grad for p in params], [time.monotonic() - begin, shown])
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=False)
        n_tokens = args.batch // args.workers * args.workers * mix.n_ctx
        state["step"] += 1
        state["n_tokens"] += n_tokens
        state["n_tokens_distilled"] += n_tokens if distil else 0
        state["elapsed_s"] = elapsed
        if rank == 0:
            progress.step(model, opts, state, lr, shown, "kl" if distil else "loss")
    if rank == 0:
        progress.end(model, opts, state)
    if args.workers > 1:
        dist.destroy_process_group()


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--shape", choices=SHAPES, required=True)
    ap.add_argument("--corpus", default="../shared/data/corpus")
    ap.add_argument("--run", default="build/train", help="tokenizer.json is here; checkpoints go here")
    ap.add_argument("--name", help="checkpoint name, default the shape")
    ap.add_argument("--minutes", type=float, required=True)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--batch", type=int, default=8, help="sequences of 512 tokens per step, all workers")
    ap.add_argument("--task-share", type=float, default=0.45)
    ap.add_argument("--exit-weight", type=float, default=0.2)
    ap.add_argument("--teacher", help="target checkpoint; distil for the last --distil-share")
    ap.add_argument("--distil-share", type=float, default=0.4)
    ap.add_argument("--workers", type=int, default=2, help="processes that share a batch")
    ap.add_argument("--threads", type=int, default=1, help="per worker")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--save-every", type=float, default=180, help="seconds")
    args = ap.parse_args()
    with tempfile.TemporaryDirectory() as d:
        # Processes rather than threads: on a shared machine a late thread makes the others of an
        # OpenMP team spin; a late worker is merely waited for.
        meeting = os.path.join(d, "meeting")
        if args.workers == 1:
            work(0, args, meeting)
        else:
            torch.multiprocessing.spawn(work, (args, meeting), nprocs=args.workers)


if __name__ == "__main__":
    main()
