#!/usr/bin/env bash
# Build wheel and sdist into dist/, and try the wheel alone, in a fresh environment of each Python:
# that of .venv, and the newest of 3.12 to 3.14 that there is. PYTHONS="python3.12 …" names others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
here=$PWD
python=$here/.venv/bin/python

rm -rf dist build
$python -m build --outdir dist .
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

newest() {
    for name in python3.14 python3.13 python3.12; do
        if "$name" -c '' 2>/dev/null; then echo "$name"; return; fi
    done
}

for each in ${PYTHONS:-$python $(newest)}; do
    echo "== $("$each" --version)"
    "$each" -m venv "$work/env"
    "$work/env/bin/python" -m pip install --quiet -c constraints.txt dist/*.whl
    tools/try_wheel.sh "$work/env" "$work/try"
    rm -rf "$work/env" "$work/try"
done
echo "the wheel works alone: $(ls dist)"
