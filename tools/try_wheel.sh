#!/usr/bin/env bash
# Try the mwanda of an environment on a tiny model, with what its core dependencies alone can do.
#   tools/try_wheel.sh ENVIRONMENT NEW_FOLDER
set -euo pipefail
environment=$(cd "$1" && pwd)
mkdir -p "$2"
cd "$2"
export HF_HUB_OFFLINE=1
unset PYTHONPATH
mwanda=$environment/bin/mwanda

"$environment/bin/python" - <<'TINY'
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mwanda.text.sources import open_source

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
names = {"<s>": 0, "</s>": 1, **{letter: place + 2 for place, letter in enumerate(letters)}}
tokenizer = Tokenizer(models.BPE(names, []))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained("tiny")
LlamaForCausalLM(LlamaConfig(vocab_size=258, hidden_size=48, intermediate_size=80,
    num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256)).save_pretrained("tiny")
for name, part in {"text": "first", "other": "second"}.items():
    Path(name).mkdir()
    source = open_source(f"bundled:udhr/{part}")
    texts = {tag: [document.text for document in source.documents(tag)] for tag in ("de", "sw")}
    Path(name, "de.txt").write_text("\n".join(texts["de"]), encoding="utf-8")
    rows = "\n".join(json.dumps({"text": text}) for text in texts["sw"])
    Path(name, "sw.jsonl").write_text(rows, encoding="utf-8")
Path("study.yaml").write_text(json.dumps({
    "models": {"tiny": "tiny"}, "calibration": "text", "languages": ["de", "sw"], "sparsities": [0.3, 0.5],
    "recipe": {"windows": 4, "window_length": 64}, "evaluation": {"text": "other", "sentences": 6},
}))
TINY
small=(--windows 4 --window-length 64)
"$mwanda" prune tiny --out pruned --calibration text --languages de,sw "${small[@]}"
"$mwanda" eval pruned --baseline tiny --text other --languages de,sw --no-generate
"$mwanda" verify pruned --against tiny
"$mwanda" ls recipes
"$mwanda" prune tiny --out quick --calibration text --languages de,sw --sparsity 50% --recipe quick "${small[@]}"
"$mwanda" study study.yaml --out study
"$mwanda" report study
test -s study/report/index.html

# What is an extra is refused with the command that installs it.
for refused in "eval pruned --text hub:owner/name" "pack pruned --out pruned.mwz"; do
    # shellcheck disable=SC2086
    if "$mwanda" $refused 2> refusal; then echo "expected no extra here: $refused" >&2; exit 1; fi
    grep -F "pip install 'mwanda[" refusal
done
