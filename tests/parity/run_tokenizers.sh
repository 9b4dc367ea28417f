#!/bin/sh
# Compares tokenizers with the wheels of others: run_tokenizers.sh TOKENIZE WORK_FOLDER [CASE...].
# As a test of the build: ctest -C parity -R tokenizer_parity
set -eu
tokenize=$1
work=$2
shift 2
here=$(dirname "$0")

python=
for candidate in python3 "$work/.venv/bin/python3"; do
  if "$candidate" -c 'import sentencepiece, tiktoken, tokenizers' 2>/dev/null; then
    python=$candidate
    break
  fi
done
archive=$(dpkg -L dict-gcide 2>/dev/null | grep '\.dict\.dz$' || true)
if [ -z "$python" ] || [ -z "$archive" ]; then
  cat >&2 <<MESSAGE
This test needs the wheels of tokenizers, tiktoken and sentencepiece, and a text, the dictionary of Debian's package dict-gcide:
  apt-get install dict-gcide
  python3 -m venv $work/.venv && $work/.venv/bin/pip install tokenizers==0.23.3 tiktoken==0.14.0 sentencepiece==0.2.3
MESSAGE
  exit 1
fi

mkdir -p "$work/tokenizers"
gunzip -c < "$archive" > "$work/tokenizers/text.txt"
"$python" -B "$here/compare_tokenizers.py" "$tokenize" "$work/tokenizers" "$work/tokenizers/text.txt" "$@"
