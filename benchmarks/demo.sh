#!/usr/bin/env bash
# The main job: accelerate a real ocean, kill it half-way, resume it, and show it next to direct integration.
set -euo pipefail
BIN=${BIN:-.venv/bin}
RUNS=${RUNS:-runs}
YEARS=${YEARS:-20}
run=$RUNS/demo
direct=$RUNS/demo-direct
rm -rf "$run" "$run-audit" "$direct"

echo "== 1. Accelerated run of a coarse Southern Ocean, from rest; it will be killed on the way"
"$BIN/spinup" run acc-coarse --out "$run" &
pid=$!
until [ "$(find "$run/log" -name '0*.json' 2>/dev/null | wc -l)" -ge 20 ]; do
  kill -0 $pid 2>/dev/null || { wait $pid; break; }
  sleep 0.2
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
echo "== 2. Killed (kill -9):"
"$BIN/spinup" status "$run"

echo "== 3. Resumed: nothing that was computed is computed again"
"$BIN/spinup" resume "$run"

echo "== 4. Is the end an equilibrium? Integrated on directly for 20 model years"
"$BIN/spinup" audit "$run" --years 20

echo "== 5. Direct integration for $YEARS model years, for comparison"
"$BIN/spinup" run acc-coarse --method picard --budget "$YEARS years" --out "$direct"

echo "== 6. What came of it, also next to 2000 years of direct integration that were kept"
"$BIN/spinup" compare "$run" "$direct"
"$BIN/spinup" report "$run" benchmarks/results/acc-coarse-direct.zarr.zip "$direct"
echo "Open the report in a browser."
