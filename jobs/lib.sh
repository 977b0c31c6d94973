# Sourced by every jobs/*.sbatch: runs one stage of $CONCORD_STUDY under the site's launcher.
#
# A stage that stops early (exit code 75: SIGUSR1 before the time limit, or --max-time) has saved its work; the job is put
# back in the queue and goes on where it stopped. Any other failure ends the chain: the next job waits for this one's success.
set -euo pipefail

: "${CONCORD_STUDY:?submit with jobs/submit STUDY.toml}" "${CONCORD_JOBS:?}" "${CONCORD_SITE:?}"
# shellcheck source=/dev/null
source "$CONCORD_JOBS/sites/$CONCORD_SITE.env"

run_stage() {
  local stage=$1 rc=0 child
  echo "job ${SLURM_JOB_ID:-none} (restart ${SLURM_RESTART_COUNT:-0}): concord $stage $CONCORD_STUDY on ${SLURM_JOB_NODELIST:-this host}"
  "${CONCORD_LAUNCHER[@]}" "$CONCORD_BIN" "$stage" "$CONCORD_STUDY" &
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
  if [[ $rc -eq 75 ]]; then
    if [[ ${SLURM_RESTART_COUNT:-0} -ge ${CONCORD_MAX_REQUEUES:-100} ]]; then
      echo "stopped early ${SLURM_RESTART_COUNT} times already: not putting the job back (CONCORD_MAX_REQUEUES)"
      exit 75
    fi
    echo "stopped early: back to the queue"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
  fi
  exit "$rc"
}
