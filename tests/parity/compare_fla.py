"""Times mudelta's gated delta rule and flash-linear-attention's on one GPU: compare_fla.py MUDELTA SHAPE...

Needs PyTorch with CUDA, Triton and flash-linear-attention. Shapes are those of `mudelta bench --rule`, for instance
8x2048,16/16,128x128. For each, MUDELTA runs to its end before fla starts. Figures are medians of calls in
milliseconds, in bfloat16, without the L2 norm, from a zero state; ratios are of this run alone.
"""

import re
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F
from fla.ops.gated_delta_rule import chunk_gated_delta_rule

WARM_UPS, CALLS = 5, 30


def parse(shape):
    match = re.fullmatch(r"(\d+)x(\d+),(\d+)/(\d+),(\d+)x(\d+)", shape)
    if not match:
        sys.exit(f"{shape}: expected SEQUENCESxTOKENS,HEADS/VALUE_HEADS,KEY_DIMxVALUE_DIM")
    return [int(number) for number in match.groups()]


def median_ms(call):
    for _ in range(WARM_UPS):
        call()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(CALLS + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


def time_fla(shape):
    """Forward and backward."""
    sequences, tokens, heads, value_heads, key_dim, value_dim = parse(shape)

    def normal(*size):
        return torch.randn(sequences, tokens, *size, device="cuda", dtype=torch.float32)

    q, k = (F.normalize(normal(heads, key_dim), dim=-1).bfloat16().requires_grad_() for _ in range(2))
    v = normal(value_heads, value_dim).bfloat16().requires_grad_()
    g = (-0.1 * normal(value_heads).abs()).requires_grad_()
    beta = normal(value_heads).sigmoid().requires_grad_()
    do = normal(value_heads, value_dim).bfloat16()

    def forward():
        return chunk_gated_delta_rule(q, k, v, g, beta, scale=1.0)[0]

    o = forward()
    return (median_ms(forward),
            median_ms(lambda: torch.autograd.grad(o, (q, k, v, g, beta), do, retain_graph=True)))


def time_mudelta(program, shape):
    """Forward, backward, and both over the floor, as `mudelta bench` prints them."""
    command = [program, "bench", "--device", "CUDA", "--bfloat16", "--no-kernels", "--no-training", "--rule", shape]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    row = next(line.split() for line in output.splitlines() if line.startswith(shape))
    return float(row[1]), float(row[3]), float(row[6])


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    import fla
    import triton
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}, triton {triton.__version__}, fla {fla.__version__}")
    print(f"{'sequences, heads, dims':<26}{'mudelta ms: fwd':>16}{'bwd':>8}{'x floor':>9}{'fla ms: fwd':>13}{'bwd':>8}"
          f"{'fla/mudelta':>13}{'bwd':>7}{'both':>7}")
    for shape in sys.argv[2:]:
        forward, backward, over_floor = time_mudelta(sys.argv[1], shape)
        fla_forward, fla_backward = time_fla(shape)
        print(f"{shape:<26}{forward:>16.3f}{backward:>8.3f}{over_floor:>9.2f}{fla_forward:>13.3f}{fla_backward:>8.3f}"
              f"{fla_forward / forward:>13.2f}{fla_backward / backward:>7.2f}"
              f"{(fla_forward + fla_backward) / (forward + backward):>7.2f}", flush=True)


if __name__ == "__main__":
    main()
