"""The mixer and the language model of docs/architecture.md in plain PyTorch operations; autograd gives the gradients.

Shapes: T tokens of all packed sequences, H heads of q and k, HV value heads, K = head_dim, V = value_dim.
"""

import torch
import torch.nn.functional as F


def segments(cu_seqlens):
    ends = cu_seqlens.tolist()
    return [slice(begin, end) for begin, end in zip(ends, ends[1:])]


def rms_norm(x, gain, eps):
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * gain


def l2_norm(x):
    return x / torch.sqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def short_conv(x, weight, cu_seqlens):
    """x [T, C], weight [C, 1, taps] -> silu of the causal depthwise convolution, sequence by sequence."""
    channels, _, taps = weight.shape
    out = []
    for segment in segments(cu_seqlens):
        rows = F.pad(x[segment].T.unsqueeze(0), (taps - 1, 0))
        out.append(F.conv1d(rows, weight, groups=channels)[0].T)
    return F.silu(torch.cat(out))


def gated_delta_rule(q, k, v, g, beta, scale, cu_seqlens):
    """q, k [T, HV, K]; v [T, HV, V]; g, beta [T, HV] -> o [T, HV, V]."""
    out = []
    for segment in segments(cu_seqlens):
        state = q.new_zeros(v.shape[1], q.shape[2], v.shape[2])
        for t in range(segment.start, segment.stop):
            state = state * torch.exp(g[t])[:, None, None]
            remembered = torch.einsum("hkv,hk->hv", state, k[t])
            write = beta[t][:, None] * (v[t] - remembered)
            state = state + torch.einsum("hk,hv->hkv", k[t], write)
            out.append(scale * torch.einsum("hkv,hk->hv", state, q[t]))
    return torch.stack(out)


def mixer(x, weights, prefix, config, cu_seqlens):
    def w(name):
        return weights[prefix + name]

    def path(name, heads):
        y = short_conv(x @ w(f"{name}_proj.weight").T, w(f"{name}_conv1d.weight"), cu_seqlens)
        return y.view(len(x), heads, -1)

    heads, value_heads, head_dim = config["heads"], config["value_heads"], config["head_dim"]
    group = value_heads // heads
    q = l2_norm(path("q", heads)).repeat_interleave(group, dim=1)
    k = l2_norm(path("k", heads)).repeat_interleave(group, dim=1)
    v = path("v", value_heads)
    beta = torch.sigmoid(x @ w("b_proj.weight").T) * (2 if config["allow_neg_eigval"] else 1)
    g = -torch.exp(w("A_log")) * F.softplus(x @ w("a_proj.weight").T + w("dt_bias"))
    o = gated_delta_rule(q, k, v, g, beta, config.get("scale", head_dim**0.5), cu_seqlens)
    gate = (x @ w("g_proj.weight").T).view_as(o)
    y = rms_norm(o, w("o_norm.weight"), config["o_norm_eps"]) * F.silu(gate)
    return y.reshape(len(x), -1) @ w("o_proj.weight").T


def mlp(x, weights, prefix):
    gate, up, down = (weights[f"{prefix}{name}_proj.weight"] for name in ("gate", "up", "down"))
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def logits(tokens, weights, config, logit_multiplier, cu_seqlens):
    eps = config["norm_eps"]
    x = weights["model.embeddings.weight"][tokens]
    for layer in range(config["layers"]):
        prefix = f"model.layers.{layer}."
        normed = rms_norm(x, weights[prefix + "attn_norm.weight"], eps)
        x = x + mixer(normed, weights, prefix + "attn.", config, cu_seqlens)
        normed = rms_norm(x, weights[prefix + "mlp_norm.weight"], eps)
        x = x + mlp(normed, weights, prefix + "mlp.")
    head = weights["model.embeddings.weight" if config["tie_embeddings"] else "lm_head.weight"]
    return logit_multiplier * rms_norm(x, weights["model.norm.weight"], eps) @ head.T


def losses(tokens, targets, weights, config, logit_multiplier, cu_seqlens):
    """Loss of every token's target in nats, 0 where the target is -1."""
    of_tokens = logits(tokens, weights, config, logit_multiplier, cu_seqlens)
    return F.cross_entropy(of_tokens, targets, ignore_index=-1, reduction="none")
