# %% [markdown]
# # Prune a model and see what each language lost
#
# This notebook prunes a language model in one shot, scores every language before and after, and
# compares two ways to prune. It needs `pip install '.[notebook]'` in the folder of the repository.
# Jupyter and VS Code open this file as a notebook once jupytext is installed (`pip install
# jupytext`); each `# %%` begins a cell. It also runs as it is: `python docs/tutorial.py`.
#
# With the model named here it takes some minutes on a laptop's processor, and needs no GPU.

# %% tags=["parameters"]
MODEL = "HuggingFaceTB/SmolLM2-135M"  # a folder, a GGUF file, or a hub id, which is downloaded
CALIBRATION = "bundled:udhr/first"  # or a folder with one de.txt, fr.jsonl or sw.parquet a language
TEXT = "bundled:udhr/second"  # other text in the same form, to score
LANGUAGES = ["en", "de", "fr", "sw"]
OTHERS = ["es", "id"]  # languages that calibrate nothing, to see what happens to them
OUT = "pruned"  # a folder for the models that are written

# %% [markdown]
# ## What would it do?
#
# `plan` reads the config and the headers of the weights. It says what a prune would do and need,
# and writes nothing. Parameters are the fields of a recipe; `help(mwanda.prune)` lists them all.

# %%
from pathlib import Path

import mwanda

# The default sparsity is 0.5, at which methods are compared; at 0.3 a small model loses less.
# The bundled text is short. With your own leave these out; fewer windows make a first look quick.
SHORT = {"windows": 6, "window_length": 128}
HOW = {"calibration": CALIBRATION, "languages": LANGUAGES, "sparsity": 0.3, **SHORT}
plan = mwanda.plan(MODEL, **HOW)
plan

# %% [markdown]
# ## Prune
#
# The model folder that this writes is loaded by transformers like any other. `result.manifest`
# holds what was done: the recipe, the text, and the sparsity of every linear.

# %%
out = Path(OUT)
out.mkdir(exist_ok=True)
result = mwanda.prune(MODEL, out=out / "m-wanda", **HOW)
result

# %%
result.to_frame().sort_values("sparsity").tail()

# %% [markdown]
# ## What did each language lose?
#
# Both models are scored on the same sentences, which did not calibrate. The number is the negative
# log-likelihood per sentence, in nats: lower is better. What counts is its rise over the dense
# model.

# %%
texts = mwanda.read_texts(TEXT, LANGUAGES + OTHERS, sentences=24)
dense = mwanda.evaluate(MODEL, texts)
pruned = mwanda.evaluate(out / "m-wanda", texts)
compared = mwanda.Comparison.of(dense, pruned)
compared

# %% [markdown]
# A figure of the same, with 95 % intervals where there is text enough for them.

# %%
compared.plot()

# %% [markdown]
# ## Against English alone
#
# Many models are pruned on English text. This does the same with English as the only language that
# calibrates, and puts both beside each other.

# %%
alone = mwanda.prune(MODEL, out=out / "english", **{**HOW, "languages": ["en"]})
english = mwanda.Comparison.of(dense, mwanda.evaluate(alone.folder, texts))
english.plot(compared)

# %%
lost = english.to_frame(compared)["relative"]  # a row for every language, a column for each model
lost.mean()

# %% [markdown]
# ## A gate
#
# A gate says whether any language lost more than it may. `check` raises `mwanda.GateError`; on the
# command line `mwanda eval --fail-if-worse-than 10%` ends with exit code 3, [for example in
# CI](ci.md).

# %%
gate = mwanda.Gate("10%", {"en": "5%"})
print(gate.text(compared))

# %% [markdown]
# ## Where to go on
#
# * `mwanda.search_sparsity` finds the highest sparsity that passes a gate.
# * `mwanda.start_study` runs a grid of prunes from a YAML file, `mwanda.read_study` reads its
#   results, and `mwanda.write_report` writes its page: [studies](studies.md).
# * A model in memory is pruned in place: `mwanda.prune(model, tokenizer=tokenizer,
#   calibration=…)`.
