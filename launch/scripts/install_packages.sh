#!/usr/bin/env bash
# install_packages.sh [GROUP...]: the Debian packages that mudelta needs, installed where they are missing.
# Groups: build (the default), test, corpus (the text that quickstart.sh trains on), run (what an installed program
# needs on Debian 12).
# Root is asked for only if something is missing; without it, the command to run is printed.
set -euo pipefail

build=(
  cmake ninja-build g++ ccache pkg-config
  libopenmpi-dev openmpi-bin
  libprotobuf-dev protobuf-compiler
  libcli11-dev libdnnl-dev libfmt-dev libgoogle-glog-dev libhwy-dev libpcre2-dev libutf8proc-dev libxxhash-dev
  libzstd-dev nlohmann-json3-dev zlib1g-dev
  gnuplot-nox
)
test=(libboost-context-dev libgtest-dev libgmock-dev librapidcheck-dev procps)
corpus=(dict-gcide)
run=(
  openmpi-bin
  libdnnl2 libfmt9 libgomp1 libgoogle-glog0v6 libhwy1 libopenmpi3 libpcre2-8-0 libprotobuf32 libutf8proc2 libxxhash0
  libzstd1 zlib1g gnuplot-nox
)

wanted=()
for group in "${@:-build}"; do
  case $group in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    corpus) wanted+=("${corpus[@]}") ;;
    run) wanted+=("${run[@]}") ;;
    *)
      echo "install_packages.sh: unknown group \"$group\", expected build, test, corpus or run" >&2
      exit 2
      ;;
  esac
done

if ! command -v apt-get > /dev/null; then
  echo "This machine has no apt-get. mudelta needs what these Debian packages hold; please install it and build by hand" >&2
  echo "(docs/install.md has the names that others have for them):" >&2
  echo "  ${wanted[*]}" >&2
  exit 1
fi

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $EUID -eq 0 ]]; then
  as_root=(env)
elif sudo -n true 2> /dev/null; then
  as_root=(sudo -n env)
else
  echo "These packages are missing, and installing them needs root. Please run:" >&2
  echo "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" >&2
  echo "docs/install.md has ways without root." >&2
  exit 1
fi
echo "Installing ${missing[*]}"
"${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
