"""An exported network in OpenVINO's CPU plugin, and the CPU device of hsd, on the same rows."""
import json
import os
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import openvino as ov

HSD = os.environ["HSD"]
CPU_LOGITS = os.environ["CPU_LOGITS"]
PRECISIONS = {"FP32": ov.Type.f32, "FP16": ov.Type.f16, "I32": ov.Type.i32, "I64": ov.Type.i64,
              "I8": ov.Type.i8}
HIDDEN_BY_BIAS = np.float32(-65504)  # lowest f16


class Row:
    """A token at a position, stored in a cell; it sees the trunk and its path, which ends with it."""

    def __init__(self, token, position, cell, path):
        self.token, self.position, self.cell, self.path = token, position, cell, path


def chain(tokens, first, cells):
    """Rows of a text, the first at position `first`; cells[p] is position p's. (trunk, rows)"""
    own = cells[first:first + len(tokens)]
    return cells[:first], [Row(t, first + i, own[i], own[:i + 1]) for i, t in enumerate(tokens)]


def export(folder, model, *args):
    """`hsd export`; the description."""
    done = subprocess.run([HSD, "export", "--target", model, "--out", folder, "--json",
                           *map(str, args)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def wrong_ports(path, model):
    """Layers of the XML whose output has another shape or type than OpenVINO works out."""
    written = {}
    for layer in ElementTree.parse(path).iter("layer"):
        port = layer.find("output/port")
        if port is not None:
            written[layer.get("name")] = ([int(dim.text) for dim in port.iter("dim")],
                                          PRECISIONS[port.get("precision")])
    return {op.get_friendly_name(): (written[op.get_friendly_name()], found)
            for op in model.get_ops() if op.get_type_name() != "Result"
            for found in [(list(op.get_output_shape(0)), op.get_output_element_type(0))]
            if written[op.get_friendly_name()] != found}


class Network:
    """An exported network with its caches."""

    def __init__(self, folder):
        with open(os.path.join(folder, "model.json"), encoding="utf-8") as file:
            self.about = json.load(file)
        core = ov.Core()
        path = os.path.join(folder, "model.xml")
        model = core.read_model(path)
        wrong = wrong_ports(path, model)
        if wrong:
            raise RuntimeError(f"shapes or types in {path}: {wrong}")
        # Else the plugin may choose bf16 where the processor has it.
        how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        if self.about["type"] != "f16":
            # OpenVINO 2026.4.1 reads through a null pointer in its pass TokenizeMLPSeqSnippets
            # for some very small networks of gpt2.
            how["SNIPPETS_MODE"] = "DISABLE"
        self.compiled = core.compile_model(model, "CPU", how)
        self.inputs = {p["name"]: p for p in self.about["inputs"]}
        self.caches = {name: np.zeros(p["shape"], np.float32)
                       for name, p in self.inputs.items() if name.startswith("past_")}

    def run(self, trunk, rows, hidden=None):
        """The rows of `out`; keys and values of the rows go to their cells."""
        n, n_cells = self.about["rows"], self.about["context"]
        place = {row.cell: n_cells + r for r, row in enumerate(rows)}
        bias = np.full((n, n_cells + n), HIDDEN_BY_BIAS)
        bias[np.arange(n), n_cells + np.arange(n)] = 0  # rows of padding see themselves
        for r, row in enumerate(rows):
            bias[r, trunk] = 0
            bias[r, [place.get(cell, cell) for cell in row.path]] = 0
        pad = [0] * (n - len(rows))
        given = {"tokens": np.array([r.token for r in rows] + pad, np.int32),
                 "positions": np.array([r.position for r in rows] + pad, np.int32),
                 "bias": bias, **self.caches}
        if hidden is not None:
            given["in"] = np.zeros(self.inputs["in"]["shape"], np.float32)
            given["in"][:len(rows)] = hidden
        done = self.compiled({name: given[name] for name in self.inputs})
        cells = [row.cell for row in rows]
        for name, cache in self.caches.items():
            cache[cells] = done[name.removeprefix("past_")][:len(rows)]
        return done["out"][:len(rows)].copy()


class CpuDevice:
    """hsd's CPU device. `unpacked`: with all tensors as F32."""

    def __init__(self, model, n_vocab, unpacked=False):
        self.n_vocab = n_vocab
        self.process = subprocess.Popen([CPU_LOGITS, model] + ["--unpacked"] * unpacked,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.stdout.close()
        if self.process.wait() != 0 and exc[0] is None:
            raise RuntimeError(f"cpu_logits ended with {self.process.returncode}")

    def run(self, trunk, rows):
        """The rows' logits; keys and values go to their cells."""
        numbers = [len(rows), len(trunk), *trunk]
        for r in rows:
            numbers += [r.token, r.position, r.cell, len(r.path), *r.path]
        self.process.stdin.write((" ".join(map(str, numbers)) + "\n").encode())
        self.process.stdin.flush()
        logits = self.process.stdout.read(len(rows) * self.n_vocab * 4)
        return np.frombuffer(logits, np.float32).reshape(len(rows), self.n_vocab)


def worst(got, want):
    """Largest error of a row's logits over the largest logit of that row."""
    assert got.shape == want.shape and np.isfinite(got).all()
    return float(np.max(np.abs(got - want).max(axis=1) / np.abs(want).max(axis=1)))
