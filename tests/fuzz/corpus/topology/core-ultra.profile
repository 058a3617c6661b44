









version: 1
made: "2026-11-25"
machine: core-ultra
fingerprint: "0000000000000000"
cache: kv-f32
target: {fingerprint: "0000000000000000", layers: 40, embd: 5120, vocab: 151936, ctx: 40960, layer_bytes: 0, head_bytes: 0, embedding_bytes: 0, cache_bytes: 0, layer_ops: 0, head_ops: 0, int8: false}
draft: {fingerprint: "0000000000000000", layers: 28, embd: 1024, vocab: 151936, ctx: 40960, layer_bytes: 0, head_bytes: 0, embedding_bytes: 0, cache_bytes: 0, layer_ops: 0, head_ops: 0, int8: false}
devices:
  - {name: gpu0, id: "opencl:0"}
  - {name: cpu0, id: cpu}
  - {name: npu0, id: npu}
tables:
  - role: target
    device: gpu0
    threads: 0
    past: 128
    measured: true
    fixed_ns: 0
    layer_ns: [1500000, 1500000, 1500000, 1500000, 1500000, 1500000, 3000000]
    head_ns: [3000000, 3000000, 3000000, 3000000, 3000000, 3000000, 6000000]
  - role: draft
    device: cpu0
    threads: 8
    past: 128
    measured: true
    fixed_ns: 0
    layer_ns: [482143, 482143, 482143, 482143, 964286, 1928571, 3857143]
    head_ns: [1500000, 1500000, 1500000, 1500000, 3000000, 6000000, 12000000]
  - role: draft
    device: npu0
    threads: 0
    past: 128
    measured: true
    fixed_ns: 0
    layer_ns: [1767857, 1767857, 1767857, 1767857, 3535714, 7071429, 14142857]
    head_ns: [5500000, 5500000, 5500000, 5500000, 11000000, 22000000, 44000000]
slowdowns:
  - {role: target, device: gpu0, threads: 0, beside: cpu0, beside_threads: 8, factor: 1}
  - {role: target, device: gpu0, threads: 0, beside: npu0, beside_threads: 0, factor: 1}
  - {role: draft, device: cpu0, threads: 8, beside: gpu0, beside_threads: 0, factor: 1}
  - {role: draft, device: npu0, threads: 0, beside: gpu0, beside_threads: 0, factor: 1}
acceptance:
  seen: 0
  accept: [0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
  own: [0.341, 0.476, 0.608, 0.757, 0.853, 0.891, 0.892]
  both: [0.392, 0.548, 0.689, 0.821, 0.922, 0.953, 0.956]