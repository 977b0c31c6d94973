# shellcheck shell=bash
# Sourced by every jobs/*.sbatch: runs stages of $CONCORD_STUDY under the site's launcher, and keeps account of them in $CONCORD_OUTPUT/jobs.
#
# A stage that stops early (exit code 75: SIGUSR1 before the time limit, or --max-time) has saved its work; the job is put
# back in the queue and goes on where it stopped, as long as it gets on. Any other failure ends the chain: the next job waits for this
# one's success.
set -euo pipefail

: "${CONCORD_STUDY:?submit with jobs/submit STUDY.toml}" "${CONCORD_JOBS:?}" "${CONCORD_SITE:?}"
# The site may ask for the stage: CONCORD_STAGE.
load_site() {
  export CONCORD_STAGE=$1
  CONCORD_SCHEDULER=slurm
  # shellcheck source=jobs/sites/default.env
  source "$CONCORD_JOBS/sites/$CONCORD_SITE.env"
}
load_site ''
# shellcheck source=jobs/schedulers/slurm.sh
source "$CONCORD_JOBS/schedulers/$CONCORD_SCHEDULER.sh"
# Since Slurm 22.05 srun does not take --cpus-per-task from the job by itself.
if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK; fi

# A mark of all that is safe in the study's results: whole files, journals, checkpoints, spools. What is written behind a journal counts
# when the journal says so.
committed() {
  [[ -d ${CONCORD_OUTPUT:-} ]] || return 0
  (cd "$CONCORD_OUTPUT" && find . -name '.?*' -prune -o -path ./jobs -prune -o -type f ! -name study.resolved.toml \
    ! \( -name '*.partial' -exec test -e '{}.journal' \; \) -printf '%P %s %T@\n' | LC_ALL=C sort | cksum)
}

# keep FILE WORD...: a line of an account, its words divided by tabs.
keep() {
  local file=$1
  shift
  if [[ ! -d ${CONCORD_OUTPUT:-} ]]; then return; fi
  mkdir -p "$CONCORD_OUTPUT/jobs"
  (IFS=$'\t' && echo "$*") >> "$CONCORD_OUTPUT/jobs/$file"
}
# Whether this job has started the stage before, or (done) brought it to its end.
has() { [[ -n ${CONCORD_OUTPUT:-} ]] && grep -q -e "^$(job_id)"$'\t'"$2"'\>' "$CONCORD_OUTPUT/jobs/$1.tsv" 2>/dev/null; }

# Puts the job back unless it was put back too often, was stopped before the stage could have done anything, or has committed nothing in
# several runs one after the other.
put_back() {
  local seconds=$1 before=$2 restarts idle=0 counter
  restarts=$(job_restarts)
  counter=${CONCORD_OUTPUT:-}/.idle.$(job_id)
  if [[ -d ${CONCORD_OUTPUT:-} && $(committed) == "$before" ]]; then
    idle=$(($(cat "$counter" 2>/dev/null || echo 0) + 1))
    if [[ $idle -ge ${CONCORD_MAX_IDLE:-3} ]]; then
      rm -f "$counter"
      echo "stopped early without anything new in $CONCORD_OUTPUT, $idle runs in turn: not putting the job back; give it more time or more ranks (CONCORD_MAX_IDLE)"
      exit "$gave_up"
    fi
    echo "$idle" > "$counter"
  elif [[ -d ${CONCORD_OUTPUT:-} ]]; then
    rm -f "$counter"
  fi
  if [[ $restarts -ge ${CONCORD_MAX_REQUEUES:-100} ]]; then
    echo "stopped early after $restarts restarts: not putting the job back (CONCORD_MAX_REQUEUES)"
    exit "$gave_up"
  fi
  if [[ $seconds -lt ${CONCORD_MIN_SECONDS:-1} ]]; then
    echo "stopped after $seconds s, before it got on: not putting the job back; give it more time (CONCORD_MIN_SECONDS)"
    exit "$gave_up"
  fi
  echo "stopped early: back to the queue"
  keep put_back.tsv "$(job_id)"
  put_job_back
}

# The arguments of a stage into the array `arguments`.
arguments_of() {
  local stage=$1 kept=() word
  eval "arguments=(${CONCORD_ARGUMENTS:-})" # quoted by jobs/submit
  # A job that goes on keeps what it made; --force once more would throw it away.
  if has started "$stage" || [[ $(job_restarts) -gt 0 && ! -d ${CONCORD_OUTPUT:-} ]]; then
    for word in "${arguments[@]}"; do [[ $word == --force ]] || kept+=("$word"); done
    arguments=("${kept[@]}")
  fi
  if [[ -n $(job_task) ]]; then arguments+=(--share "$(job_task)/$CONCORD_SHARES"); fi
  if [[ -n ${CONCORD_MAX_TIME:-} ]]; then arguments+=(--max-time $((CONCORD_MAX_TIME > SECONDS ? CONCORD_MAX_TIME - SECONDS : 1))); fi
}

asked=false # to stop, before the time limit
# Runs a stage; its exit code is left in `rc`.
run_one() {
  local stage=$1 child arguments=() begin
  load_site "$stage"
  arguments_of "$stage"
  echo "job $(job_id) (restart $(job_restarts)): concord $stage $CONCORD_STUDY on $(job_hosts)"
  keep started.tsv "$(job_id)" "$stage"
  begin=$(date +%s)
  # Where another run is making the same output, the job waits for it: to come back at once would fill the queue.
  "${CONCORD_LAUNCHER[@]}" "$CONCORD_BIN" "$stage" "$CONCORD_STUDY" --wait "${arguments[@]}" &
  child=$!
  # The scheduler signals this shell; the launcher hands the signal on to every rank.
  trap 'asked=true; kill -USR1 "$child" 2>/dev/null || true' USR1
  while true; do
    rc=0
    wait "$child" || rc=$?
    # wait also returns when the trap ran; the launcher is still there then.
    kill -0 "$child" 2>/dev/null || break
  done
  if [[ $rc -gt 128 ]]; then wait "$child" && rc=0 || rc=$?; fi
  trap 'asked=true' USR1
  keep runs.tsv "$(job_id)" "$stage" "$(job_restarts)" "$(job_nodes)" "$begin" "$(date +%s)" "$rc"
  if [[ $rc -eq 0 ]]; then keep done.tsv "$(job_id)" "$stage"; fi
}

# What stages came to so far, for the report.
count_node_hours() { "$CONCORD_JOBS/node_hours" --output "$CONCORD_OUTPUT" --site "$CONCORD_SITE" > /dev/null || echo "node-hours were not counted"; }

run_stages() {
  local begin=$SECONDS before stage rc
  if [[ $scheduler == LSF || $scheduler == PBS* ]]; then # which show a log when the job has ended
    exec >> "${CONCORD_OUTPUT:-.}/jobs/concord-$1-$(job_id).log" 2>&1
  fi
  trap 'asked=true' USR1
  before=$(committed)
  for stage in "$@"; do
    if has "done" "$stage"; then continue; fi
    if [[ $stage == report && -d ${CONCORD_OUTPUT:-} ]]; then count_node_hours; fi
    if [[ $asked == false ]]; then run_one "$stage"; else rc=75; fi
    if [[ $rc -eq 75 ]]; then put_back "$((SECONDS - begin))" "$before"; fi
    if [[ $rc -ne 0 ]]; then exit "$rc"; fi
  done
}

run_stage() {
  run_stages "$1"
}
