#!/usr/bin/env bash
# install.sh CMAKE BUILD_DIR: installs the program into a folder of its own, and uses it from another.
set -euo pipefail
cmake=$1 build=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$cmake" --install "$build" --prefix "$folder/prefix" > /dev/null
mkdir "$folder/elsewhere"
cd "$folder/elsewhere"
export PATH=$folder/prefix/bin:$PATH
[[ $(command -v mudelta) == "$folder/prefix/bin/mudelta" ]]

status=0
expect() {  # WHAT REGEX TEXT
  if [[ ! $3 =~ $2 ]]; then
    echo "$1: expected $2, got: $3"
    status=1
  fi
}
expect "list of presets" "quickstart +A small model" "$(mudelta configs)"
expect "a preset's text" "optimizer \{ adamw" "$(mudelta configs quickstart)"
expect "a preset by its name" "width: 192" "$(mudelta train quickstart --print-config=model.width)"
expect "a misspelt preset" "did you mean .quickstart" "$(mudelta train quickstrat --print-config 2>&1 || true)"

complete_words() {  # WORD...: what bash would offer for the last one
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _mudelta "$1" "${COMP_WORDS[COMP_CWORD]}"
  echo "${COMPREPLY[*]}"
}
# shellcheck source=/dev/null
source "$folder/prefix/share/bash-completion/completions/mudelta"
expect "completion of commands" "train" "$(complete_words mudelta tr)"
expect "completion of options" "^--resume$" "$(complete_words mudelta train --re)"
expect "completion of presets" "^quickstart$" "$(complete_words mudelta train qui)"

usage=$(MUDELTA=/nowhere/mudelta bash "$folder/prefix/share/mudelta/slurm.sh" run.textproto runs/1 2>&1 || true)
expect "slurm.sh without a program" "no program /nowhere/mudelta" "$usage"
exit $status
