#!/usr/bin/env bash
# Everything that takes a GPU, in pieces that a killed or bounded run resumes; no network is needed.
#
#   benchmarks/gpu_suite.sh [--dry-run] [--again] [STEP...]
#
# Steps, by default all of them in this order:
#   build      compile the C++ and CUDA ops and install the package from this checkout
#   test       the whole suite: the op tests take every backend that runs here, CUDA and Triton too;
#              then the tests of whole solves on a GPU once more with each of these two
#   sanitizer  compute-sanitizer over the tests of the CUDA ops: memcheck, and for the ops with
#              shared memory racecheck and synccheck
#   bench      every op against its bandwidth limit, the inner step, the launches of a profiler trace
#   solve      whole solves on every backend
#   throughput networks of the field's sizes, each acceleration in turn; charts; Jacobian products
#              and precisions by time, memory and quality; a profile
#   train      train-prior on the images in PRIOR_DATA, resumed by further runs
#   report     tables, pictures and the table of the fastest backends
#
# A step is made of pieces. A piece that passed before is passed over, unless --again is given; the
# script stops before LIMIT seconds with exit status 75 where pieces are left: run it again.
# --dry-run prints the commands.
#
# Environment:
#   PYTHON        the interpreter that holds torch (python3)
#   WHEELS        folder of wheels to install first, without an index
#   OUT           folder that receives gpu_suite.tar.gz: records, pages, logs, fastest.json.
#                 Unpacked over a fresh checkout, it resumes there.
#   LIMIT         seconds for one run (570)
#   PRIOR_DATA    folder of images for train; PRIOR_RUN its run folder (build/gpu_suite/prior),
#                 PRIOR_MINUTES its time budget (8)
set -uo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
LIMIT=${LIMIT:-570}
PRIOR_RUN=${PRIOR_RUN:-build/gpu_suite/prior}
PRIOR_MINUTES=${PRIOR_MINUTES:-8}
STEPS=(build test sanitizer bench solve throughput train report)
LOGS=build/gpu_suite
LEFT=75 # EX_TEMPFAIL: pieces are left
PATH=$PATH:/usr/local/cuda/bin # nvcc and compute-sanitizer, where the toolkit is not on PATH

dry_run=false
again=false
wanted=()
for argument in "$@"; do
  case "$argument" in
    --dry-run) dry_run=true ;;
    --again) again=true ;;
    -h | --help)
      sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
      exit 0
      ;;
    *)
      if [[ " ${STEPS[*]} " != *" $argument "* ]]; then
        echo "gpu_suite.sh: no step $argument; there are ${STEPS[*]}" >&2
        exit 2
      fi
      wanted+=("$argument")
      ;;
  esac
done
[[ ${#wanted[@]} -gt 0 ]] || wanted=("${STEPS[@]}")

failed=()

pack() {
  $dry_run && return
  [[ -n ${OUT:-} ]] || return 0
  mkdir -p "$OUT"
  local parts=()
  for part in benchmarks/results docs/benchmarks docs/images vml_fast/ops/fastest.json "$LOGS"; do
    [[ -e $part ]] && parts+=("$part")
  done
  tar -czf "$OUT/gpu_suite.tar.gz" --exclude="$PRIOR_RUN" "${parts[@]}"
}

finish() {
  pack
  if [[ ${#failed[@]} -gt 0 ]]; then
    echo "failed: ${failed[*]}"
    exit 1
  fi
  exit "$1"
}

machine=

find_machine() { # once, since it imports torch
  [[ -n $machine ]] || machine=$("$PYTHON" -m benchmarks.machine)
}

passed() { # NAME: whether its record says so
  local record
  find_machine
  record="benchmarks/results/$machine/suite-$1.json"
  [[ -f $record ]] && grep -q '"status": 0' "$record"
}

# run NAME COMMAND...: the command within what is left of LIMIT, its output shown and logged
run() {
  local name=$1 status left=$((LIMIT - SECONDS))
  shift
  if $dry_run; then
    printf '%s:' "$name"
    printf ' %q' "$@"
    printf '\n'
    return 0
  fi
  if ((left < 20)); then
    echo "time is up before $name: run the script again"
    finish $LEFT
  fi
  mkdir -p "$LOGS"
  echo "== $name"
  timeout --signal=INT --kill-after=10 "$left" "$@" 2>&1 | tee "$LOGS/$name.log"
  status=${PIPESTATUS[0]}
  return "$status"
}

# piece NAME COMMAND...: run it unless it passed before, and record how it went
piece() {
  local name=$1 start=$SECONDS fresh=$((SECONDS < 60)) status=0
  shift
  if ! $dry_run && ! $again && passed "$name"; then
    echo "== $name passed before"
    return 0
  fi
  run "$name" "$@" || status=$?
  $dry_run && return 0
  [[ $status -eq 5 && " $* " == *" pytest "* ]] && status=0 # no test was selected
  if [[ $status -eq 124 ]] && ! ((fresh)); then
    echo "time is up in $name: run the script again"
    finish $LEFT
  fi
  "$PYTHON" -m benchmarks.suite_step "$name" "$status" $((SECONDS - start)) \
    --junit "$LOGS/$name.xml"
  [[ $status -eq 0 ]] || failed+=("$name")
}

tests() { # NAME SELECTION...: a piece that is a run of pytest
  local name=$1
  shift
  piece "$name" "$PYTHON" -m pytest -q -m "not slow or gpu" --junitxml="$LOGS/$name.xml" "$@"
}

ready() { # whether the compiled backends of this checkout run here
  "$PYTHON" - <<'CHECK'
from vml_fast.ops import availability
reasons = availability("cuda")
missing = [f"{name}: {reasons[name]}" for name in ("cuda", "triton") if reasons[name]]
raise SystemExit("; ".join(missing) or 0)
CHECK
}

step_build() {
  # the installation, unlike records, does not move to another machine: ask it, not them
  if ! $dry_run && ! $again && ready 2>/dev/null; then
    echo "== build: CUDA and Triton run"
    return 0
  fi
  local pip=("$PYTHON" -m pip install --quiet --no-index --no-deps)
  if [[ -n ${WHEELS:-} ]]; then
    run wheels "${pip[@]}" "$WHEELS"/*.whl || failed+=(wheels)
  fi
  again=true piece build env VML_FAST_CUDA=1 VML_FAST_NATIVE=1 \
    "${pip[@]}" --no-build-isolation -e .
  if ! $dry_run && ! ready; then
    failed+=(build)
    finish 1
  fi
}

step_test() {
  local folder name backend
  # What only a GPU can show comes first. Triton compiles for minutes; its cache lets a bounded run
  # go on where it stopped.
  tests test-native tests/native/
  tests test-ops tests/ops/ -k "not triton"
  tests test-ops-triton tests/ops/ -k triton
  tests test-kernels-gpu tests/kernels/ -k gpu
  for backend in cuda triton; do
    name=test-solves-$backend
    piece "$name" env VML_FAST_BACKEND="$backend" "$PYTHON" -m pytest -q -m gpu \
      --junitxml="$LOGS/$name.xml" tests/runtime/ tests/solvers/
  done
  tests test-kernels tests/kernels/ -k "not gpu"
  for folder in tests/*/; do
    name=$(basename "$folder")
    case "$name" in
      __pycache__ | native | ops | kernels) ;;
      *) tests "test-$name" "$folder" ;;
    esac
  done
  tests test-package tests/test_*.py
}

sanitized() { # TOOL SELECTION FILE...: tests of the CUDA ops under compute-sanitizer
  local tool=$1 selection=$2
  shift 2
  # without torch's memory cache every tensor has bounds of its own
  piece "$tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
    compute-sanitizer --tool "$tool" --error-exitcode 3 --report-api-errors no \
    --target-processes all "$PYTHON" -m pytest -q -x -p no:cacheprovider \
    -k "$selection and not opcheck and not gradcheck" --junitxml="$LOGS/$tool.xml" "$@"
}

step_sanitizer() {
  local tool paths=tests/native/test_cuda_paths.py
  if ! $dry_run && ! command -v compute-sanitizer >/dev/null; then
    echo "== sanitizer: compute-sanitizer is not installed, passed over"
    return 0
  fi
  sanitized memcheck cuda tests/ops "$paths"
  for tool in racecheck synccheck; do
    sanitized "$tool" "cuda and (fwht or transform or norm)" \
      tests/ops/test_fwht.py tests/ops/test_group_norm_silu.py "$paths"
  done
}

step_bench() {
  local group
  for group in brackets kernels inner_step launches; do
    piece "bench-$group" "$PYTHON" -m benchmarks.run "$group"
  done
}

step_solve() {
  piece solve "$PYTHON" -m benchmarks.run solve
}

step_throughput() {
  local network part selection results
  find_machine
  results=benchmarks/results/$machine
  $dry_run || mkdir -p "$results"
  for network in emoji64 edm64 dps-ffhq256 ldm64 adm256; do
    for part in eager compiled; do # compiled code persists: a bounded run finds it when resumed
      selection="$network and not compile and not cuda-graph"
      [[ $part == compiled ]] && selection="$network and (compile or cuda-graph)"
      piece "throughput-$network-$part" "$PYTHON" -m pytest -q benchmarks/test_throughput.py \
        --benchmark-enable --benchmark-only -k "$selection" \
        --benchmark-json="$results/throughput-$network-$part.json"
    done
    piece "chart-$network" "$PYTHON" -m benchmarks.throughput --network "$network" --batch 1 \
      --inner-steps 5
  done
  piece chart "$PYTHON" -m benchmarks.throughput
  piece accelerate "$PYTHON" -m benchmarks.run accelerate
  piece jacobian "$PYTHON" -m benchmarks.run jacobian
  piece precision "$PYTHON" -m benchmarks.precision --images 16 --output "$results/precision"
  piece profile "$PYTHON" -c "from vml_fast.cli.main import app; app()" profile \
    --cuda-graph off --compile off --overwrite --output "$LOGS/profile"
}

step_train() {
  if [[ -z ${PRIOR_DATA:-} ]]; then
    echo "== train: PRIOR_DATA is not set, passed over"
    return 0
  fi
  local resume=()
  [[ -d $PRIOR_RUN ]] && resume=(--resume)
  again=true piece train "$PYTHON" -c "from vml_fast.cli.main import app; app()" train-prior \
    --data "$PRIOR_DATA" --output "$PRIOR_RUN" --max-minutes "$PRIOR_MINUTES" \
    --group-pattern emoji --duplicate-tolerance 0.15 --heldout-fraction 0.055 "${resume[@]}"
}

step_report() {
  run fastest "$PYTHON" -m benchmarks.fastest || failed+=(fastest)
  run report "$PYTHON" -m benchmarks.report || failed+=(report)
}

for step in "${wanted[@]}"; do
  "step_$step"
done
finish 0
