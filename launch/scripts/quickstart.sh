#!/usr/bin/env bash
# quickstart.sh [FILES.txt...]: from a fresh Debian machine to text from a language model in a few minutes.
# Installs packages, builds, prepares a corpus (the English dictionary of the package dict-gcide, or the files given),
# trains a small model, evaluates it and lets it write. Run again, it goes on where it stopped.
set -euo pipefail

case ${1:-} in
  -h | --help)
    sed -n '2,4s/^# //p' "$0"
    exit
    ;;
esac
files=()
for file in "$@"; do files+=("$(realpath -e -- "$file")"); done
cd "$(dirname "$0")/../.."

stage() { printf '\n==> [%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"; }

# One document per entry of the dictionary: an entry starts at a line without indentation after an empty line. The
# form feed that is put between entries does not occur in them.
dictionary_entries() {
  local archive
  archive=$(dpkg -L dict-gcide | grep '\.dict\.dz$')
  zcat "$archive" |
    LC_ALL=C awk 'BEGIN { RS = "" } { printf "%s%s", NR == 1 ? "" : /^[^ \t]/ ? "\n\f\n" : "\n\n", $0 }'
}

stage "Packages"
groups=(build)
[[ ${#files[@]} -gt 0 ]] || groups+=(corpus)
launch/scripts/install_packages.sh "${groups[@]}"
echo "All there."

stage "Build"
options=(-DCMAKE_BUILD_TYPE=Release)
if [[ ! -f build/build.ninja ]]; then
  options+=(-DMUDELTA_BUILD_TESTS=OFF)
  if nvidia-smi --list-gpus > /dev/null 2>&1; then
    options+=(-DMUDELTA_CUDA_ARCHITECTURES=ONE)
    echo "For the CPU, and for this machine's GPU where nvcc is found. For all GPUs that are supported:"
    echo "  cmake -S . -B build -DMUDELTA_CUDA_ARCHITECTURES=ALL && ninja -C build"
  else
    options+=(-DMUDELTA_CUDA=OFF)
    echo "For the CPU alone: there is no GPU here. With nvcc, for GPUs as well:"
    echo "  cmake -S . -B build -DMUDELTA_CUDA=ON && ninja -C build"
  fi
fi
cmake -S . -B build -G Ninja "${options[@]}" > /dev/null
ninja -C build mudelta
mudelta=build/launch/mudelta

stage "Corpus"
name=quickstart
if [[ ${#files[@]} -gt 0 ]]; then
  # Other files, or the same ones changed, are another corpus and another run.
  name+=-$(stat -c '%n %s %Y' -- "${files[@]}" | cksum | cut -d ' ' -f 1)
fi
data=data/corpus/$name
run=runs/$name
if [[ -f $data/dataset.json ]]; then
  echo "$data is prepared already."
elif [[ ${#files[@]} -gt 0 ]]; then
  $mudelta prepare --input "${files[@]}" --out "$data"
else
  mkdir -p data/corpus
  dictionary_entries > data/corpus/gcide.txt
  $mudelta prepare --input data/corpus/gcide.txt --separator $'\n\f\n' --out "$data"
fi

stage "Train"
if [[ -e $run/config.textproto ]]; then
  echo "$run holds a run already: going on with it. To start afresh, remove that folder."
fi
cores=$(nproc)
ranks=$((cores < 2 ? 1 : 2))
export OMP_NUM_THREADS=$((cores / ranks))
# Containers often have no user but root, nor the right to read another process's memory.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_vader_single_copy_mechanism=none
mpirun --oversubscribe --bind-to none -n "$ranks" \
  $mudelta train launch/configs/quickstart.textproto --set data.path="$data" --out "$run" --resume

stage "Evaluate the newest checkpoint"
export OMP_NUM_THREADS=$cores
$mudelta eval --checkpoint "$run" --data "$data" --sequences 256

stage "Generate"
prompt="Gravity"
[[ ${#files[@]} -eq 0 ]] || prompt="The "
$mudelta generate --checkpoint "$run" --prompt "$prompt"

stage "Done"
echo "The run, with its metrics and checkpoints, is in $run. To let the model write more:"
echo "  $mudelta generate --checkpoint $run --prompt \"...\""
