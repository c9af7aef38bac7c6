#!/usr/bin/env bash
# Build wheel and sdist into dist/, and try the wheel alone in a fresh environment.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=.venv/bin/python

rm -rf dist build
$python -m build --outdir dist .
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
$python -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet -c constraints.txt dist/*.whl
cd "$work"
env/bin/python - <<'TINY'
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
names = {"<s>": 0, "</s>": 1, **{letter: place + 2 for place, letter in enumerate(letters)}}
tokenizer = Tokenizer(models.BPE(names, []))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained("tiny")
LlamaForCausalLM(LlamaConfig(vocab_size=258, hidden_size=48, intermediate_size=80,
    num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256)).save_pretrained("tiny")
TINY
env/bin/mwanda prune tiny --out pruned --calibration bundled:udhr/first --languages de,sw \
    --windows 4 --window-length 64
env/bin/mwanda eval pruned --baseline tiny --text bundled:udhr/second --languages de,sw --no-generate
env/bin/mwanda verify pruned --against tiny
echo "the wheel works alone: $(ls "$OLDPWD"/dist)"
