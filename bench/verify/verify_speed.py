"""Speed of `qround verify` beside `cat`, cold and cached.

  bench/verify/verify_speed.py QROUND FOLDER [LAYERS]

Makes a valid int4 checkpoint at the widths of Qwen3.6-35B-A3B in FOLDER: LAYERS layers (default 36: 20 GB; 14: 10 GB),
vision tower and MTP head; all codes are pieces of one random body, so what it holds is no language model. It is made
once. Then, three times: `cat FILES > /dev/null` and `qround verify`, each with the files' pages dropped before, and
once more each with the files in the cache as far as memory holds them. Needs Python's standard library alone.
"""
import json, os, random, struct, subprocess, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "oracle"))
import make_sparse_35b as sparse  # noqa: E402

GROUP = 128
SHARD_BYTES = 4 << 30
BODY = 64 << 20
QUANTIZED = ("q_proj", "k_proj", "v_proj", "o_proj", "in_proj_qkv", "in_proj_z", "out_proj")


def tensors(layers):
    """(name, dtype, shape, kind of body) of the int4 checkpoint, layer by layer."""
    sparse.LAYERS = layers
    for name, shape in sparse.tensors():
        in_text = name.startswith("model.language_model.layers.")
        module = name.removesuffix(".weight")
        if in_text and ".experts." in name:
            for expert in range(shape[0]):
                prefix = name.rsplit(".", 1)[0] + f".{expert}."
                parts = ["gate_proj", "up_proj"] if name.endswith("gate_up_proj") else ["down_proj"]
                for part in parts:
                    yield from int4(prefix + part, shape[1] // len(parts), shape[2])
        elif in_text and module.rsplit(".", 1)[1] in QUANTIZED:
            yield from int4(module, *shape)
        else:
            yield name, "BF16", shape, "kept"


def int4(module, n, k):
    yield module + ".qweight", "I32", [k // 8, n], "codes"
    yield module + ".qzeros", "I32", [k // GROUP, n // 8], "zeros"
    yield module + ".scales", "F16", [k // GROUP, n], "scales"


def bodies():
    source = random.Random(35)
    words = source.randbytes(BODY)
    # Sign and exponent of f16 around 0.01, of bf16 around 0.02: the low bits are random.
    low, high = words[: BODY // 2], words[BODY // 2 :]
    scales = bytearray(BODY)
    scales[0::2], scales[1::2] = low, bytes(0x21 | (b & 0x80) for b in high)
    kept = bytearray(BODY)
    kept[0::2], kept[1::2] = low, bytes(0x3C | (b & 0x80) for b in high)
    return {"codes": words, "scales": bytes(scales), "kept": bytes(kept), "zeros": b"\x77" * BODY}


def size(dtype, shape):
    count = 1
    for extent in shape:
        count *= extent
    return count * (4 if dtype == "I32" else 2)


def write_shard(path, rows, body):
    header, offset = {}, 0
    for name, dtype, shape, _ in rows:
        end = offset + size(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for i, (_, dtype, shape, kind) in enumerate(rows):
            left, start = size(dtype, shape), i * 4096 % (BODY // 2)
            while left > 0:
                piece = body[kind][start : start + left]
                file.write(piece)
                left, start = left - len(piece), 0


def make(folder, layers):
    (folder / "raw").mkdir(parents=True)
    body, rows, shards, filled = bodies(), [], [], 0
    for row in tensors(layers):
        rows.append(row)
        filled += size(*row[1:3])
        if filled > SHARD_BYTES:
            shards.append(rows)
            rows, filled = [], 0
    shards.append(rows)
    for i, rows in enumerate(shards):
        write_shard(folder / "raw" / f"model-{i + 1:05}-of-{len(shards):05}.safetensors", rows, body)
    sparse.LAYERS = layers
    config = sparse.config()
    (folder / "raw/config.json").write_text(json.dumps(config))
    subprocess.run([qround, "verify", str(folder / "raw"), "--fix", str(folder / "model"), "-q"],
                   stdout=subprocess.DEVNULL, check=True)
    os.sync()


def drop(files):
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def seconds(command):
    start = time.monotonic()
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


qround, folder = os.path.abspath(sys.argv[1]), Path(sys.argv[2])
layers = int(sys.argv[3]) if len(sys.argv) > 3 else 36
if not (folder / "model").exists():
    make(folder, layers)
files = sorted((folder / "model").glob("*.safetensors"))
total = sum(file.stat().st_size for file in files)
names = " ".join(str(file) for file in files)
cat, verify = f"cat {names} > /dev/null", f"{qround} verify {folder / 'model'} -q"
print(f"{total / 1e9:.1f} GB in {len(files)} shards")
if os.environ.get("MAKE_ONLY"):
    sys.exit()
for cached in (False, True):
    for _ in range(int(os.environ.get("ROUNDS", "3"))):
        times = []
        for command in (cat, verify):
            if not cached:
                drop(files)
            times.append(seconds(command))
        rates = [total / 1e9 / t for t in times]
        print(f"{'cached' if cached else 'cold'}: cat {rates[0]:.2f} GB/s, verify {rates[1]:.2f} GB/s ({rates[1] / rates[0]:.0%})")
