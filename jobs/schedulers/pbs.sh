# shellcheck shell=bash disable=SC2034
# What is peculiar to PBS Pro (see slurm.sh). It warns no job of its time limit, so the program stops by --max-time; and users may not put a job
# back (qrerun is an operator's), so the job submits one that goes on, and lets what waited for itself wait for that one.
scheduler="PBS Pro"
scheduler_commands=(qsub qdel)
scheduler_has_arrays=false
scheduler_warns=false

job_id() { echo "${PBS_JOBID:-none}"; }
job_task() { echo ''; }
job_restarts() { echo "${CONCORD_RESTARTS:-0}"; } # handed on from job to job
job_nodes() { if [[ -r ${PBS_NODEFILE:-} ]]; then sort -u "$PBS_NODEFILE" | wc -l; else echo 1; fi; }
job_hosts() { if [[ -r ${PBS_NODEFILE:-} ]]; then sort -u "$PBS_NODEFILE" | paste -sd, ; else echo "this host"; fi; }
# Jobs that begin when this one has ended well.
waiting_for() {
  qstat -f "$1" | sed -e ':a' -e 'N' -e '$!ba' -e 's/\n\t//g' | sed -n 's/^ *depend = .*beforeok:\([^,]*\).*/\1/p' | tr ':' '\n' | sed 's/@.*//'
}
put_job_back() {
  local options=() next waiting account mine accounts=${CONCORD_OUTPUT:-}/jobs
  eval "options=($CONCORD_RESUBMIT)" # quoted by jobs/submit
  # Held until it is known as this job's continuation.
  next=$(CONCORD_RESTARTS=$((${CONCORD_RESTARTS:-0} + 1)) "${options[0]}" -h "${options[@]:1}")
  for waiting in $(waiting_for "$PBS_JOBID"); do
    qalter -W "depend=afterok:$next" "$waiting"
  done
  if [[ -d $accounts ]]; then
    for account in "$accounts"/{started,done}.tsv; do
      if [[ ! -f $account ]]; then continue; fi
      mine=$(awk -F'\t' -v OFS='\t' -v id="$PBS_JOBID" -v next_id="$next" '$1 == id { print next_id, $2 }' "$account")
      if [[ -n $mine ]]; then echo "$mine" >> "$account"; fi
    done
    if [[ -f $CONCORD_OUTPUT/.idle.$PBS_JOBID ]]; then mv "$CONCORD_OUTPUT/.idle.$PBS_JOBID" "$CONCORD_OUTPUT/.idle.$next"; fi
    printf '%s\t%s\t%s\n' "$(date +%s)" "$next" "$CONCORD_FORM" >> "$accounts/submitted.tsv"
  fi
  qrls "$next"
  echo "goes on as $next"
  exit 75 # what still waits for this job must not begin
}
gave_up=75

job_words() {
  local stage=$1 script=$2 after=$4 limit
  shift 5
  limit=$(sed -n 's/^#SBATCH --time=\([^ ]*\).*/\1/p' "$script")
  words=(qsub -V -N "$stage" -j oe -o /dev/null -l "walltime=$limit" "$@")
  local again
  again=$(printf '%q ' "${words[@]}" "$script")
  words=(env "CONCORD_FORM=$stage" "CONCORD_RESUBMIT=$again" "${words[@]}")
  if [[ -n $after ]]; then words+=(-W "depend=afterok:$after"); fi
  words+=("$script")
}
job_number() { echo "$1"; }
job_test() { :; } # PBS has no way to ask
cancel_jobs() { qdel "$@"; }
nodes_and_time() {
  local script=$1 nodes=1 limit word
  shift
  limit=$(sed -n 's/^#SBATCH --time=\([^ ]*\).*/\1/p' "$script")
  for word in "$@"; do
    case $word in
      select=*) nodes=${word#select=} nodes=${nodes%%:*} ;;
      walltime=*) limit=${word#walltime=} ;;
    esac
  done
  echo "$nodes $(seconds_of "$limit")"
}

queue_of() {
  local id
  for id in "$@"; do
    qstat "$id" 2>/dev/null | awk -v id="$id" 'NR > 2 && $5 == "R" { print id "|running|" $4 "||" } NR > 2 && $5 ~ /[QHW]/ { print id "|waiting|||" ($5 == "H" ? "behind another job" : "queued") }'
  done
}
log_of() { find "${CONCORD_OUTPUT:?}/jobs" -name "*-$1.log" | head -n 1; }
accounted() { return 1; }
