"""Scores of every row by transformers in fp32, as `qround eval --protocol windows --rows` writes them, and a comparison with such a file.

eval_reference.py make TEXT SRC MODEL CONTEXT WINDOWS OUT.safetensors     int4 weights are exactly scale x (code - zero), not rounded to bf16
eval_reference.py compare OUT.safetensors ROWS.safetensors                exit 1 when perplexity, KL divergence, top tokens or drafts disagree
"""
import sys
import torch
from safetensors.torch import load_file, save_file

DEPTHS = 3


@torch.no_grad()
def rows_of(directory, x):
    """[windows, context, vocab] logits in f64 and the teacher-forced drafts of each depth."""
    from dequant import build
    model, mtp, _ = build(directory, bf16=False)
    text = model.model.language_model
    hidden = text(input_ids=x, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden)
    drafts, h = [], hidden
    if mtp is not None:
        n = x.shape[1]
        e = text.embed_tokens(x)
        pos = text.rotary_emb(h, torch.arange(n)[None, None].expand(3, x.shape[0], -1))
        for depth in range(1, DEPTHS + 1):
            h = mtp(e[:, depth:], h[:, : n - depth] if depth == 1 else h[:, :-1], tuple(z[..., : n - depth, :] for z in pos))
            drafts.append(model.lm_head(h).argmax(-1))
    return logits, drafts


def make(text, src, model, context, windows, out):
    from pathlib import Path
    from tokenizers import Tokenizer
    ids = Tokenizer.from_file(str(Path(src) / "tokenizer.json")).encode(Path(text).read_text()).ids
    x = torch.tensor(ids[: windows * context]).view(windows, context)
    t, reference = {"ids": x.to(torch.int32)}, None
    for name, directory in (("source", src), ("result", model)):
        logits, drafts = rows_of(directory, x)
        lp = logits.double().log_softmax(-1)
        t[f"{name}.nll"] = -lp[:, :-1].gather(-1, x[:, 1:, None]).flatten()
        top = logits.topk(2, -1)
        t[f"{name}.top"] = top.indices[..., 0].flatten().to(torch.int32)
        t[f"{name}.gap"] = ((top.values[..., 0] - top.values[..., 1]) / top.values[..., 0].abs()).flatten()
        if reference is None:
            reference = lp
        else:
            t[f"{name}.divergence"] = (reference.exp() * (reference - lp)).sum(-1).flatten()
        best = t[f"{name}.top"].view(windows, context)
        hits = [(d == best[:, i + 1 :]).sum(-1) for i, d in enumerate(drafts)]
        t[f"{name}.draft_hits"] = torch.stack(hits, -1).to(torch.int32)
    save_file({k: v.contiguous() for k, v in t.items()}, out)


def compare(reference, rows):
    want, got, bad = load_file(reference), load_file(rows), 0
    for name in ("source", "result"):
        ppl = [float(t[f"{name}.nll"].double().mean().exp()) for t in (want, got)]
        relative = abs(ppl[1] / ppl[0] - 1)
        differ = (want[f"{name}.top"] != got[f"{name}.top"]).nonzero().flatten().tolist()
        gaps = [float(want[f"{name}.gap"][i]) for i in differ]
        hits = [t[f"{name}.draft_hits"].sum(0).tolist() for t in (want, got)]
        print(f"{name}: perplexity {ppl[0]:.7f} {ppl[1]:.7f} relative {relative:.1e}; {len(differ)} top tokens differ, gaps {gaps}; draft hits {hits[0]} {hits[1]}")
        bad |= relative > 1e-4 or len(differ) > 2 or any(g > 1e-4 for g in gaps)
        bad |= any(abs(a - b) > 2 for a, b in zip(*hits))
    mean = [float(t["result.divergence"].double().mean()) for t in (want, got)]
    rows = float((want["result.divergence"].double() - got["result.divergence"].double()).abs().max())
    agreement = [int((t["source.top"] == t["result.top"]).sum()) for t in (want, got)]
    print(f"KL divergence {mean[0]:.9f} {mean[1]:.9f} difference {abs(mean[0] - mean[1]):.1e}, largest of a row {rows:.1e}; same top token {agreement[0]} {agreement[1]}")
    return bad or abs(mean[0] - mean[1]) > 1e-6 or abs(agreement[0] - agreement[1]) > 2


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), int(sys.argv[6]), sys.argv[7])
    else:
        sys.exit(compare(sys.argv[2], sys.argv[3]))
