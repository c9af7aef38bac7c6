"""One file that holds a pruned model folder, smaller and bit for bit: see docs/archive.md."""
