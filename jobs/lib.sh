# shellcheck shell=bash
# Sourced by every jobs/*.sbatch: runs one stage of $CONCORD_STUDY under the site's launcher.
#
# A stage that stops early (exit code 75: SIGUSR1 before the time limit, or --max-time) has saved its work; the job is put
# back in the queue and goes on where it stopped, as long as it gets on. Any other failure ends the chain: the next job waits for this
# one's success.
set -euo pipefail

: "${CONCORD_STUDY:?submit with jobs/submit STUDY.toml}" "${CONCORD_JOBS:?}" "${CONCORD_SITE:?}"
# shellcheck source=jobs/sites/default.env
source "$CONCORD_JOBS/sites/$CONCORD_SITE.env"
# Since Slurm 22.05 srun does not take --cpus-per-task from the job by itself.
if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi

# A mark of all that is safe in the study's results: whole files, journals, checkpoints, spools. What is written behind a journal counts
# when the journal says so.
committed() {
  [[ -d ${CONCORD_OUTPUT:-} ]] || return 0
  (cd "$CONCORD_OUTPUT" && find . -name '.?*' -prune -o -type f ! -name study.resolved.toml \
    ! \( -name '*.partial' -exec test -e '{}.journal' \; \) -printf '%P %s %T@\n' | LC_ALL=C sort | cksum)
}

# Puts the job back unless it was put back too often, was stopped before the stage could have done anything, or has committed nothing in
# several runs one after the other.
put_back() {
  local seconds=$1 before=$2 restarts=${SLURM_RESTART_COUNT:-0} idle=0 counter=${CONCORD_OUTPUT:-}/.idle.$SLURM_JOB_ID
  if [[ -d ${CONCORD_OUTPUT:-} && $(committed) == "$before" ]]; then
    idle=$(($(cat "$counter" 2>/dev/null || echo 0) + 1))
    if [[ $idle -ge ${CONCORD_MAX_IDLE:-3} ]]; then
      rm -f "$counter"
      echo "stopped early without anything new in $CONCORD_OUTPUT, $idle runs in turn: not putting the job back; give it more time or more ranks (CONCORD_MAX_IDLE)"
      exit 75
    fi
    echo "$idle" > "$counter"
  elif [[ -d ${CONCORD_OUTPUT:-} ]]; then
    rm -f "$counter"
  fi
  if [[ $restarts -ge ${CONCORD_MAX_REQUEUES:-100} ]]; then
    echo "stopped early after $restarts restarts: not putting the job back (CONCORD_MAX_REQUEUES)"
    exit 75
  fi
  if [[ $seconds -lt ${CONCORD_MIN_SECONDS:-1} ]]; then
    echo "stopped after $seconds s, before it got on: not putting the job back; give it more time (CONCORD_MIN_SECONDS)"
    exit 75
  fi
  echo "stopped early: back to the queue"
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}

run_stage() {
  local stage=$1 rc=0 child begin=$SECONDS arguments=() before
  before=$(committed)
  eval "arguments=(${CONCORD_ARGUMENTS:-})" # quoted by jobs/submit
  # A job that was put back goes on with what it made; --force once more would throw it away.
  if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 ]]; then
    local kept=() word
    for word in "${arguments[@]}"; do [[ $word == --force ]] || kept+=("$word"); done
    arguments=("${kept[@]}")
  fi
  echo "job ${SLURM_JOB_ID:-none} (restart ${SLURM_RESTART_COUNT:-0}): concord $stage $CONCORD_STUDY on ${SLURM_JOB_NODELIST:-this host}"
  # Where another run is making the same output, the job waits for it: to come back at once would fill the queue.
  "${CONCORD_LAUNCHER[@]}" "$CONCORD_BIN" "$stage" "$CONCORD_STUDY" --wait "${arguments[@]}" &
  child=$!
  # Slurm signals this shell (--signal=B:USR1); the launcher hands the signal on to every rank.
  trap 'kill -USR1 "$child" 2>/dev/null || true' USR1
  while true; do
    rc=0
    wait "$child" || rc=$?
    # wait also returns when the trap ran; the launcher is still there then.
    kill -0 "$child" 2>/dev/null || break
  done
  if [[ $rc -gt 128 ]]; then wait "$child" && rc=0 || rc=$?; fi
  if [[ $rc -eq 75 ]]; then put_back "$((SECONDS - begin))" "$before"; fi
  exit "$rc"
}
