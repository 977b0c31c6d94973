# shellcheck shell=bash disable=SC2034
# No scheduler (see slurm.sh): jobs/submit runs the stages here, one after the other.
scheduler=none
scheduler_commands=()
scheduler_has_arrays=false
scheduler_warns=true # there is no limit

job_id() { echo "${CONCORD_RUN:-none}"; }
job_task() { echo ''; }
job_restarts() { echo 0; }
job_nodes() { echo 1; }
job_hosts() { hostname; }
put_job_back() { exit 75; }
gave_up=75

job_words() {
  local script=$2
  words=(bash "$script")
}
job_number() { echo "$1"; }
job_test() { :; }
cancel_jobs() { :; }
nodes_and_time() { echo "1 0"; }
queue_of() { :; }
log_of() { :; }
accounted() { return 1; }
