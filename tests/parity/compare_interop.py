"""Exported models as transformers computes them, and transformers' models imported: compare_interop.py MUDELTA
INTEROP_CASE WORK. Needs PyTorch, transformers (qwen3_5_text) and safetensors; where flash-linear-attention is installed,
its exports are compared with its classes on the meta device, which needs no GPU.

Logits are compared in float32 on the CPU: the largest difference over the largest logit is at most TOLERANCE.
"""

import json
import pathlib
import shutil
import subprocess
import sys

sys.modules["fla"] = None  # where it finds fla, transformers calls its kernels, which need a GPU

import torch
import transformers
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3_5TextConfig
from transformers.models.qwen3_5.modeling_qwen3_5 import Qwen3_5ForCausalLM

import torch_model

TOLERANCE = 1e-4
TOKENS = 70  # more than a chunk


class Comparison:
    def __init__(self, mudelta, interop_case, work):
        self.mudelta, self.interop_case, self.work = mudelta, interop_case, pathlib.Path(work)
        self.failures = 0
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.run(interop_case, "make", self.work / "cases")

    def run(self, *command):
        words = [str(word) for word in command]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def text(self, vocab):
        return torch.randint(vocab, (1, TOKENS), generator=torch.Generator().manual_seed(1))

    def ours(self, folder, tokens, eps=0):
        (self.work / "tokens.txt").write_text(" ".join(map(str, tokens[0].tolist())))
        self.run(self.interop_case, "logits", folder, self.work / "tokens.txt", self.work / "logits.bin", eps)
        data = bytearray((self.work / "logits.bin").read_bytes())
        return torch.frombuffer(data, dtype=torch.float32).view(TOKENS, -1)

    def export(self, case, out, *options):
        return self.run(self.mudelta, "export", self.work / "cases" / case, "--out", self.work / out, *options)

    def check(self, name, passed, figure):
        self.failures += not passed
        print(f"{name:<52}{figure:<40}{'' if passed else 'FAILED'}")

    def same(self, name, ours, theirs):
        largest = ours.abs().max().item()
        difference = (ours - theirs).abs().max().item() / largest
        self.check(name, difference <= TOLERANCE and largest > 0.1, f"{difference:.1e} of {largest:.2f}")


def qwen_logits(folder, tokens, eps=None):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert type(model) is Qwen3_5ForCausalLM
    if eps is not None:
        for layer in model.model.layers:
            layer.linear_attn.norm.variance_epsilon = eps
    with torch.no_grad():
        return model(tokens, use_cache=False).logits[0]


def compare_qwen_exports(c):
    for case in ["plain", "untied", "odd", "mup"]:
        folder = c.work / f"qwen3_5-{case}"
        text = c.export(case, folder.name, "--format", "qwen3_5")
        assert "not exact" not in text, text
        tokens = c.text(37)
        c.same(f"qwen3_5 {case}: transformers", c.ours(c.work / "cases" / case, tokens), qwen_logits(folder, tokens))

    # In several files, with an o_norm_eps that the format has no field for.
    folder = c.work / "qwen3_5-blunt"
    text = c.export("blunt", folder.name, "--format", "qwen3_5", "--file-mib", "1")
    files = len(list(folder.glob("*.safetensors")))
    c.check("qwen3_5 blunt: several files", files > 1, f"{files}")
    tokens = c.text(37)
    ours = c.ours(c.work / "cases/blunt", tokens)
    eps = float(text.split("variance_epsilon = ")[1].split()[0])
    c.same("qwen3_5 blunt: with the line that export prints", ours, qwen_logits(folder, tokens, eps))
    without = qwen_logits(folder, tokens)
    c.same("qwen3_5 blunt: without it, by the eps of the format", c.ours(folder, tokens, 1e-6 * 16**2), without)
    difference = ((ours - without).abs().max() / ours.abs().max()).item()
    c.check("qwen3_5 blunt: without it, another model", difference > 1e-2, f"{difference:.1e}")


def compare_qwen_imports(c):
    for tied in [False, True]:
        torch.manual_seed(2)
        config = Qwen3_5TextConfig(
            vocab_size=41, hidden_size=40, intermediate_size=56, num_hidden_layers=3, layer_types=["linear_attention"] * 3,
            linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=12, linear_value_head_dim=8,
            num_attention_heads=2, num_key_value_heads=1, head_dim=32, tie_word_embeddings=tied, initializer_range=0.2,
            rms_norm_eps=1e-5, use_cache=False)
        model = Qwen3_5ForCausalLM(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():  # where transformers starts from constants
                if parameter.dim() == 1 and not name.endswith("A_log"):
                    parameter.add_(0.3 * torch.randn_like(parameter))
        folder = c.work / f"transformers-{tied}"
        model.save_pretrained(folder, max_shard_size="40KB" if tied else "5GB")
        c.run(c.mudelta, "import", folder, "--out", c.work / f"imported-{tied}")
        tokens = c.text(41)
        with torch.no_grad():
            theirs = model(tokens, use_cache=False).logits[0]
        for kind in ["transformers", "imported"]:
            c.same(f"import, {'tied' if tied else 'untied'}: {kind} folder", c.ours(c.work / f"{kind}-{tied}", tokens),
                   theirs)


def load_tensors(folder):
    tensors = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            tensors.update({key: file.get_tensor(key) for key in file.keys()})
    return tensors


def compare_fla_exports(c):
    """fla's kernels need a GPU; its equations are those of torch_model.py with another scale and one eps."""
    for case in ["plain", "untied", "odd", "mup", "negative"]:
        folder = c.work / f"fla-{case}"
        text = c.export(case, folder.name, "--format", "fla")
        assert "not exact" not in text, text
        config, weights = json.loads((folder / "config.json").read_text()), load_tensors(folder)
        tokens = c.text(37)
        theirs = torch_model.logits(tokens[0], weights, {
            "layers": config["num_hidden_layers"], "heads": config["num_heads"], "value_heads": config["num_v_heads"],
            "head_dim": config["head_dim"], "value_dim": int(config["head_dim"] * config["expand_v"]),
            "norm_eps": config["norm_eps"], "o_norm_eps": config["norm_eps"], "scale": config["head_dim"]**-0.5,
            "tie_embeddings": config["tie_word_embeddings"], "allow_neg_eigval": config["allow_neg_eigval"]},
            1, torch.tensor([0, TOKENS]))
        c.same(f"fla {case}: fla's equations in torch", c.ours(c.work / "cases" / case, tokens), theirs)

    del sys.modules["fla"]
    try:
        import fla  # registers its classes
        from fla.models import GatedDeltaNetForCausalLM
    except ImportError as error:
        print(f"fla's classes are not compared: {error}")
        return
    for case in ["plain", "untied", "odd", "mup", "negative"]:
        folder = c.work / f"fla-{case}"
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        assert type(model) is GatedDeltaNetForCausalLM
        expected = {name: tuple(p.shape) for name, p in model.named_parameters()}
        found = {name: tuple(t.shape) for name, t in load_tensors(folder).items()}
        c.check(f"fla {case}: tensors of fla's class", found == expected, f"{len(found)} of {len(expected)}")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    transformers.utils.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    c = Comparison(*sys.argv[1:])
    compare_qwen_exports(c)
    compare_qwen_imports(c)
    compare_fla_exports(c)
    sys.exit(f"{c.failures} comparisons failed" if c.failures else 0)


if __name__ == "__main__":
    main()
