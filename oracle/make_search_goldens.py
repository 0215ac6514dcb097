"""Reference values of auto-round 0.16.1's optimized RTN for one linear map. make_search_goldens.py OUT"""
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
from auto_round.data_type.int import quant_tensor_opt_rtn_sym

out = Path(sys.argv[1]); out.mkdir(parents=True, exist_ok=True); torch.manual_seed(5)
O, I = 24, 384
golden = {}


def case(name, weight, importance):
    weight = weight.to(torch.bfloat16)  # searched in F32, as auto-round does on a CPU
    qdq, scale, _ = quant_tensor_opt_rtn_sym(weight.float(), bits=4, group_size=128, imatrix=importance)
    golden.update({f"{name}.weight": weight, f"{name}.scale": scale.reshape(-1).float(), f"{name}.qdq": qdq.float()})
    if importance is not None:
        golden[f"{name}.importance"] = importance


normal = torch.randn(O, I) * 0.02
case("uniform", normal, None)
case("weighted", normal, torch.exp(2 * torch.randn(I)))
outliers = torch.randn(O, I) * 0.02
outliers[:, ::50] *= 8
case("outliers", outliers, torch.exp(3 * torch.randn(I)))
save_file({k: v.contiguous() for k, v in golden.items()}, out / "search.safetensors")
