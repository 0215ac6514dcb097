"""Cuts two int4 linears out of a checkpoint that auto-round 0.16.1 exported (RTN of the pocket model) and
has auto-round's own QuantLinear say what they decode to.

    python make_autoround_fixture.py AUTOROUND_DIR autoround/

model.safetensors: the six tensors as they lie in the export. expected.safetensors: NAME.weight, F32
[out, in], QuantLinear's answer to the identity matrix; NAME.codes, U8 [out, in], from shifts in numpy.
config.json and quantization_config.json are copies. Made with auto-round 0.16.1, torch 2.15.0.
"""
import json, shutil, sys
from pathlib import Path
import numpy as np, torch
from auto_round_extension.torch.qlinear_torch_zp import QuantLinear
from safetensors import safe_open
from safetensors.torch import save_file

NAMES = ["model.language_model.layers.3.self_attn.k_proj", "model.language_model.layers.0.mlp.experts.0.down_proj"]
source, out = Path(sys.argv[1]), Path(sys.argv[2])
weight_map = json.load(open(source / "model.safetensors.index.json"))["weight_map"]
tensors, expected = {}, {}
for name in NAMES:
    for part in ("qweight", "qzeros", "scales"):
        key = f"{name}.{part}"
        with safe_open(source / weight_map[key], "pt") as file: tensors[key] = file.get_tensor(key)
    qweight = tensors[f"{name}.qweight"]
    n_in, n_out = qweight.shape[0] * 8, qweight.shape[1]
    linear = QuantLinear(4, 128, n_in, n_out, False)
    for part in ("qweight", "qzeros", "scales"): setattr(linear, part, tensors[f"{name}.{part}"])
    linear.scales = linear.scales.float()
    weight = linear(torch.eye(n_in)).T.contiguous()
    words = qweight.numpy().view(np.uint32)
    codes = np.stack([words >> (4 * j) & 15 for j in range(8)], 1).reshape(n_in, n_out).T
    expected[f"{name}.codes"] = torch.from_numpy(np.ascontiguousarray(codes).astype(np.uint8))
    if name is NAMES[0]: expected[f"{name}.weight"] = weight.float()
save_file(tensors, out / "model.safetensors")
save_file(expected, out / "expected.safetensors")
for name in ("config.json", "quantization_config.json"): shutil.copyfile(source / name, out / name)
