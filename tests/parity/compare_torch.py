"""Recomputes what dump_model wrote with PyTorch in float64 and compares: compare_torch.py FOLDER.

Prints a line per tensor and exits with 1 unless every relative RMS error is at most 1e-4.
"""

import json
import pathlib
import sys

import torch

import torch_model

TOLERANCE = 1e-4


def load(folder, entry):
    dtype = {"float32": torch.float32, "int32": torch.int32}[entry["dtype"]]
    flat = torch.frombuffer(bytearray((folder / entry["file"]).read_bytes()), dtype=dtype)
    return flat.view(entry["shape"]).to(torch.float64 if dtype == torch.float32 else torch.int64)


def recompute(case):
    """Adds autograd's gradients to the weights (and to the input x) of `case`; returns its outputs."""
    inputs, weights, config = case["inputs"], case["weights"], case["config"]
    cu_seqlens = inputs["cu_seqlens"]
    if case["kind"] == "mixer":
        y = torch_model.mixer(inputs["x"], weights, case["prefix"], config, cu_seqlens)
        y.backward(inputs["dy"])
        return {"y": y}
    losses = torch_model.losses(inputs["tokens"], inputs["targets"], weights, config, case["logit_multiplier"],
                                cu_seqlens)
    (case["gradient_scale"] * losses.sum()).backward()
    return {"losses": losses}


def error(actual, expected):
    return ((actual - expected).norm() / expected.norm()).item()


def compare_case(folder):
    case = json.loads((folder / "index.json").read_text())
    for section in ("inputs", "weights", "outputs", "gradients"):
        case[section] = {name: load(folder, entry) for name, entry in case[section].items()}
    variables = dict(case["weights"])
    if case["kind"] == "mixer":
        variables["x"] = case["inputs"]["x"]
    for variable in variables.values():
        variable.requires_grad_()

    outputs = recompute(case)
    errors = {name: error(case["outputs"][name], value.detach()) for name, value in outputs.items()}
    for name, variable in variables.items():
        errors[f"d {name}"] = error(case["gradients"][name], variable.grad)

    print(folder.name)
    passed = 0
    for name, value in errors.items():
        ok = value <= TOLERANCE  # false for NaN
        passed += ok
        print(f"  {name:<48} {value:9.2e}  {'PASS' if ok else 'FAIL'}")
    return passed, len(errors) - passed


def main():
    folders = sorted(index.parent for index in pathlib.Path(sys.argv[1]).glob("*/index.json"))
    results = [compare_case(folder) for folder in folders]
    passed, failed = (sum(column) for column in zip(*results)) if results else (0, 0)
    print(f"{passed} passed, {failed} failed (tolerance {TOLERANCE:g}, torch {torch.__version__})")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
