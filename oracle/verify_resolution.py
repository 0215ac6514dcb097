"""Compares verify's simulation of name resolution with the programs' own functions.

  pip download --no-deps vllm==0.33.0 sglang==0.5.23; unzip their Python files
  oracle/verify_resolution.py QROUND VLLM_DIR SGLANG_DIR CHECKPOINT [CHECKPOINT ...]

VLLM_DIR and SGLANG_DIR hold the packages `vllm` and `sglang`. Of them only the files that resolve
names are run, with empty stand-ins for what they import besides; nothing needs a GPU. auto-round is
the installed one. Each checkpoint is resolved as it is and under changed configurations. CONSUMERS=vllm,sglang
leaves transformers out, which takes minutes for thousands of experts.
"""
import ast, importlib.util, json, os, subprocess, sys, tempfile, types
from pathlib import Path

qround, vllm_dir, sglang_dir = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
checkpoints = [Path(p).resolve() for p in sys.argv[4:]]


class Stub(types.ModuleType):
    """A module whose every name is a class."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = type(name, (), {"__init__": lambda self, *a, **k: None})
        setattr(self, name, value)
        return value


def stub(name, **values):
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        path = ".".join(parts[:i])
        if path not in sys.modules:
            sys.modules[path] = Stub(path)
            sys.modules[path].__path__ = []
        if i > 1:
            setattr(sys.modules[".".join(parts[: i - 1])], parts[i - 1], sys.modules[path])
    for key, value in values.items():
        setattr(sys.modules[name], key, value)
    return sys.modules[name]


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def class_dict(path, cls, attribute):
    """The dict literal that a class assigns to an attribute."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == cls:
            for item in node.body:
                targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
                if any(getattr(t, "id", None) == attribute for t in targets):
                    value = item.value
                    return ast.literal_eval(value.right if isinstance(value, ast.BinOp) else value)
    raise SystemExit(f"{path}: no {cls}.{attribute}")


def extract(path, names, scope):
    """Runs single classes of a file."""
    tree = ast.parse(path.read_text())
    tree.body = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name in names]
    exec(compile(tree, str(path), "exec"), scope)
    return [scope[n] for n in names]


# --- vLLM
class Base:
    def __init__(self):
        self.packed_modules_mapping = {}

    @staticmethod
    def get_from_keys(config, keys):
        for key in keys:
            if key in config:
                return config[key]
        raise ValueError(f"Cannot find any of {keys} in the model's quantization config.")

    @staticmethod
    def get_from_keys_or(config, keys, default):
        try:
            return Base.get_from_keys(config, keys)
        except ValueError:
            return default


class Log:
    def __getattr__(self, name):
        return lambda *a, **k: None


inc = "vllm.model_executor.layers.quantization.inc"
stub("vllm.logger", init_logger=lambda n: Log())
stub("vllm.model_executor.layers.quantization", QuantizationConfig=Base)
layers = stub("vllm.model_executor.layers.linear")
fused = stub("vllm.model_executor.layers.fused_moe")
heads = stub("vllm.model_executor.layers.vocab_parallel_embedding")
stub(inc)
root = vllm_dir / "vllm/model_executor"
load(inc + ".config_parser", root / "layers/quantization/inc/config_parser.py")
INCConfig = load(inc + ".inc", root / "layers/quantization/inc/inc.py").INCConfig
stub(inc + ".schemes.factory", resolve_scheme=lambda config: types.SimpleNamespace(
    get_linear_method=lambda *a: config, get_moe_method=lambda *a: config))

from dataclasses import dataclass, field, replace  # noqa: E402
from collections.abc import Mapping, Iterable  # noqa: E402
from typing import Any  # noqa: E402
import torch  # noqa: E402
import regex  # noqa: E402

(WeightsMapper,) = extract(root / "models/utils.py", ["WeightsMapper"],
                           {"dataclass": dataclass, "field": field, "replace": replace, "Mapping": Mapping,
                            "Iterable": Iterable, "Any": Any, "re": regex, "torch": torch, "logger": Log(),
                            "ShardIds": Any})
prefixes = None
for node in ast.walk(ast.parse((root / "models/qwen3_vl.py").read_text())):
    if isinstance(node, ast.keyword) and node.arg == "orig_to_new_prefix":
        found = ast.literal_eval(node.value)
        if "model.visual." in found:
            prefixes = found
vllm_mapper = WeightsMapper(orig_to_new_prefix=prefixes | {"mtp.": None}).get_rename_mapper()
vllm_packed = class_dict(root / "models/qwen3_vl.py", "Qwen3VLForConditionalGeneration", "packed_modules_mapping")
vllm_packed |= {k: v for k, v in class_dict(root / "models/qwen3_5.py", "Qwen3_5ForConditionalGeneration",
                                            "packed_modules_mapping").items()}
mtp_packed = class_dict(root / "models/qwen3_5_mtp.py", "Qwen3_5MTP", "packed_modules_mapping")


class FakeExperts(fused.RoutedExperts):
    moe_config = None


def vllm_bits(config, name):
    """None: it stops."""
    try:
        inc_config = INCConfig.from_config(config)
    except (ValueError, AssertionError):
        return None
    inc_config.apply_vllm_mapper(vllm_mapper)
    inc_config.packed_modules_mapping = mtp_packed if name.startswith("mtp.") else vllm_packed
    # models/qwen3_5_mtp.py drops the configuration for the layers of the head.
    if name.startswith("mtp.layers") and any(k.startswith("-:") and "mtp" in k for k in config.get("dynamic", {})):
        return 16
    kind = (FakeExperts if name.endswith("mlp.experts") else
            heads.ParallelLMHead if name.endswith("lm_head") else layers.LinearBase)
    try:
        method = inc_config.get_quant_method(kind(), name)
    except ValueError:
        return None
    return getattr(method, "bits", 16)


# --- SGLang
q = "sglang.srt.layers.quantization"
stub(q + ".utils", get_scalar_types=lambda: (Stub("s"), Stub("s")))
stub(q + ".base_config", QuantizationConfig=Base)
stub("sglang.srt.utils", cpu_has_amx_support=lambda: False, is_cpu=lambda: False, is_npu=lambda: False)
sg_moe = stub("sglang.srt.layers.moe.fused_moe_triton")
sg_head = stub("sglang.srt.layers.vocab_parallel_embedding")
sg_root = sglang_dir / "sglang/srt"
AutoRoundConfig = load(q + ".auto_round", sg_root / "layers/quantization/auto_round.py").AutoRoundConfig
sg_packed = class_dict(sg_root / "models/qwen3_5.py", "Qwen3_5ForCausalLM", "packed_modules_mapping")


def sglang_bits(config, name):
    try:
        ar = AutoRoundConfig.from_config(config)
    except (ValueError, KeyError):
        return None
    ar.packed_modules_mapping = sg_packed
    layer = (sg_moe.FusedMoE if name.endswith("mlp.experts") else
             sg_head.ParallelLMHead if name.endswith("lm_head") else object)()
    try:
        return ar.get_layer_config(layer, name)[0]
    except ValueError:
        return None


# --- transformers with auto-round
def module_tree(names):
    """A module with Linear maps of these names; numbers are places in a ModuleList."""
    root = {}
    for name in names:
        node = root
        for part in name.split("."):
            node = node.setdefault(part, {})

    def build(node):
        if not node:
            return torch.nn.Linear(1, 1, bias=False, device="meta")
        if all(part.isdigit() for part in node):
            return torch.nn.ModuleList(build(node[part]) for part in sorted(node, key=int))
        module = torch.nn.Module()
        for part, child in node.items():
            module.add_module(part, build(child))
        return module

    tree = build(root)
    tree.config = types.SimpleNamespace(model_type="none")
    tree.get_output_embeddings = lambda: None
    tree.tie_weights = lambda *a, **k: None
    return tree


def transformers_bits(config, names):
    from auto_round.inference.convert_model import get_layer_config

    values = {"modules_to_not_convert": [], "sym": True, **json.loads(json.dumps(config))}
    layers = get_layer_config(module_tree(names), types.SimpleNamespace(**values))
    return {n: int(layers[n]["bits"]) if n in layers else 16 for n in names}


# --- Configurations
kept = {"bits": 16, "data_type": "fp"}


def variants(config):
    yield "as it is", config

    def changed(title, **values):
        result = json.loads(json.dumps(config))
        for key, value in values.items():
            result.pop(key, None) if value is None else result.__setitem__(key, value)
        return title, result

    extra = config.get("extra_config", {})
    yield changed("no block list", block_name_to_quantize=None)
    yield changed("no block list, no dynamic", block_name_to_quantize=None, dynamic=None)
    yield changed("with mtp.layers", block_name_to_quantize=["model.language_model.layers", "mtp.layers"],
                  dynamic=None)
    yield changed("block list with space", block_name_to_quantize="model.language_model.layers, mtp.layers")
    yield changed("empty element", block_name_to_quantize="model.language_model.layers,", dynamic=None)
    yield changed("regexes only", extra_config={".*in_proj_[ab]$": kept, ".*shared_expert.*": kept, ".*mtp.*": kept})
    yield changed("no trailing .*", extra_config={".*in_proj_[ab].*": kept, ".*shared_expert": kept, ".*mtp": kept},
                  dynamic=None)
    yield changed("escaped prefix", extra_config={r"model\.language_model\.layers\.0\..*": kept})
    yield changed("short keys", extra_config={"linear_attn.in_proj_ba": kept, "shared_expert.down_proj": kept,
                                              "lm_head": {"bits": 4}})
    yield changed("nothing kept", extra_config={})
    yield changed("one expert", extra_config={**extra, "model.language_model.layers.0.mlp.experts.1.up_proj": kept})
    yield changed("only in_proj_a", extra_config={k: v for k, v in extra.items() if not k.endswith(("_b", "_ba"))})
    yield changed("no bits", extra_config={k: {} for k in extra})
    yield changed("unequal settings", extra_config={
        **{k: v for k, v in extra.items() if not k.endswith("in_proj_ba")},
        "model.language_model.layers.0.linear_attn.in_proj_a": {"bits": 16, "group_size": -1}})
    yield changed("qkv and z, no fused name", extra_config={
        **extra, **{f"model.language_model.layers.1.linear_attn.in_proj_{p}": kept for p in ("qkv", "z")}})
    yield changed("bits 8 in one layer", extra_config={
        **extra, "model.language_model.layers.3.self_attn.o_proj": {"bits": 8}})
    yield changed("no sym", sym=None)


def ours(directory, consumer):
    out = subprocess.run([qround, "verify", str(directory), "--modules", consumer, "--json"],
                         capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    return {row["module"]: row["config_bits"] for row in rows}


never = ("mlp.gate", "mlp.shared_expert_gate")  # built without the configuration
total = {consumer: 0 for consumer in os.environ.get("CONSUMERS", "vllm,sglang,transformers").split(",")}
distinct = {consumer: set() for consumer in total}
wrong = 0
for checkpoint in checkpoints:
    full = json.loads((checkpoint / "config.json").read_text())
    for title, config in variants(full["quantization_config"]):
        with tempfile.TemporaryDirectory() as folder:
            for file in checkpoint.iterdir():
                if file.name != "config.json":
                    os.symlink(file, Path(folder) / file.name)
            (Path(folder) / "config.json").write_text(json.dumps({**full, "quantization_config": config}))
            theirs = {}
            theirs["vllm"] = lambda names: {n: vllm_bits(config, n) for n in names if not n.endswith(never)}
            theirs["sglang"] = lambda names: {n: sglang_bits(config, n) for n in names
                                              if not n.endswith(never) and "visual" not in n and n != "mtp.fc"}
            theirs["transformers"] = lambda names: transformers_bits(
                config, [n for n in names if not n.endswith(".mlp.gate")])
            for consumer, resolve in theirs.items():
                if consumer not in total:
                    continue
                mine = ours(folder, "vllm>=0.25" if consumer == "vllm" else consumer)
                if consumer == "sglang" and "sym" not in config or consumer == "vllm" and "bits" not in config:
                    continue  # refused at start: not a question of names
                for name, bits in resolve(list(mine)).items():
                    total[consumer] += 1
                    distinct[consumer].add(name)
                    if mine[name] != bits:
                        wrong += 1
                        print(f"{checkpoint.name}, {title}, {consumer}: {name}: theirs {bits}, ours {mine[name]}")
print(", ".join(f"{len(distinct[c])} modules of {c}, {n} with all configurations" for c, n in total.items()), f"compared; {wrong} differ")
sys.exit(wrong > 0)
