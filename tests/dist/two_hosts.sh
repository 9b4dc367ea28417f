#!/usr/bin/env bash
# two_hosts.sh PROGRAM [RANKS [SETTING...]]: trains on two hosts and on one, and compares losses and checkpoints bit for bit.
# PROGRAM: build/launch/mudelta. Ranks (4) alternate between the hosts, so that tensor and context groups lie across them.
# The hosts are network namespaces of this machine with names of their own, joined by a virtual cable: takes root, iproute2
# and Open MPI. Without them it ends with 77.
set -euo pipefail
program=$(realpath "$1")
ranks=${2:-4}
shift $(($# < 2 ? $# : 2))
settings=("$@")
[[ ${#settings[@]} -gt 0 ]] || settings=(parallel.tensor=2)

prefix=mudelta$$
if ! ip netns add "$prefix-a" 2>/dev/null; then
  echo "no network namespaces here: expected root and iproute2" >&2
  exit 77
fi
work=$(mktemp -d)
# shellcheck disable=SC2317 # called at the end
clean_up() {
  for host in a b; do ip netns del "$prefix-$host" 2>/dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT

ip netns add "$prefix-b"
ip link add name "${prefix}a" type veth peer name "${prefix}b"
for host in a b; do
  ip link set "$prefix$host" netns "$prefix-$host"
  ip -n "$prefix-$host" link set "$prefix$host" name eth0
  ip -n "$prefix-$host" address add "10.77.0.$([[ $host == a ]] && echo 1 || echo 2)/24" dev eth0
  ip -n "$prefix-$host" link set eth0 up
  ip -n "$prefix-$host" link set lo up
done

# What mpirun calls in place of ssh: HOST COMMAND...
cat >"$work/agent" <<AGENT
#!/usr/bin/env bash
host=\$1
shift
[[ \$host == 10.77.0.1 ]] && name=a || name=b
exec ip netns exec "$prefix-\$name" unshare --uts bash -c 'hostname "\$0" && eval "\$*"' "host-\$name" "\$@"
AGENT
chmod +x "$work/agent"

awk 'BEGIN { srand(1); split("state decays and a key writes its value o gate delta rule", words, " ");
  for (i = 0; i < 6000; ++i) printf "%s%s", words[1 + int(11 * rand())], rand() < 0.03 ? "\n\n" : " " }' >"$work/corpus.txt"
"$program" prepare --input "$work/corpus.txt" --out "$work/data" --validation-fraction 0.1 >/dev/null
cat >"$work/run.textproto" <<RUN
data { path: "$work/data" }
model { width: 32 layers: 2 heads: 2 value_heads: 4 head_dim: 8 mlp_size: 48 init_std: 0.1 conv_init_std: 0.3 }
train { steps: 10 global_batch: 8 sequence_length: 48 eval_every: 5 }
schedule { warmup_steps: 4 }
parallel { bucket_mib: 0.02 timeout_seconds: 60 }
RUN

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
common=(--oversubscribe --bind-to none --mca mpi_yield_when_idle 1 --mca btl_vader_single_copy_mechanism none -n "$ranks")
overrides=()
for setting in "${settings[@]}"; do overrides+=(--set "$setting"); done
mpirun "${common[@]}" "$program" train "$work/run.textproto" --out "$work/one" "${overrides[@]}" >"$work/one.log" 2>&1 ||
  { cat "$work/one.log" && exit 1; }
each=$(((ranks + 1) / 2))
# shellcheck disable=SC2016 # expanded by each rank
ip netns exec "$prefix-a" unshare --uts bash -c 'hostname host-a && exec "$@"' - \
  mpirun "${common[@]}" --host "10.77.0.1:$each,10.77.0.2:$each" --map-by node --mca plm_rsh_agent "$work/agent" \
  --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0 \
  bash -c 'echo "rank $OMPI_COMM_WORLD_RANK on $(hostname)" >&2; exec "$@"' - \
  "$program" train "$work/run.textproto" --out "$work/two" "${overrides[@]}" >"$work/two.log" 2>&1 ||
  { cat "$work/two.log" && exit 1; }

for host in a b; do
  grep -q " on host-$host\$" "$work/two.log" || { cat "$work/two.log" && echo "error: no rank on host-$host" && exit 1; }
done
grep " on host-" "$work/two.log" | sort | tr '\n' ';'
echo
echo "$(grep " ranks = " "$work/two.log"), ${settings[*]}; $(ip netns exec "$prefix-a" cat /sys/class/net/eth0/statistics/tx_bytes) bytes left host-a"
losses() { grep -oE '"(loss|eval_loss|grad_norm)":[^,]*' "$1/metrics.jsonl"; }
diff <(losses "$work/one") <(losses "$work/two") || { echo "error: losses differ" && exit 1; }
(cd "$work/one/checkpoints" && find . -name '*.safetensors' -exec cmp {} "$work/two/checkpoints/{}" \;) >"$work/differences"
[[ ! -s $work/differences ]] || { cat "$work/differences" && exit 1; }
echo "$(losses "$work/one" | wc -l) losses and norms, $(find "$work/one/checkpoints" -name '*.safetensors' | wc -l) checkpoint files: same bits"
