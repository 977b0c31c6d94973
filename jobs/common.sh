# shellcheck shell=bash disable=SC2034,SC2154
# Functions of jobs/submit, jobs/status and jobs/node_hours, which set `jobs`, `site`, refuse() and CONCORD_STUDY.

# "1:30:00", "2-12" (days and hours), "90:00" or "90" (minutes) in seconds, as sbatch reads them; 0 for what has no end.
seconds_of() {
  awk -v text="$1" 'BEGIN {
    days = 0
    if (text !~ /^[0-9:-]+$/) { print 0; exit }
    dashed = split(text, part, "-")
    if (dashed == 2) { days = part[1]; text = part[2] }
    n = split(text, t, ":")
    if (dashed == 2) seconds = t[1] * 3600 + t[2] * 60 + t[3]
    else if (n == 3) seconds = t[1] * 3600 + t[2] * 60 + t[3]
    else seconds = t[1] * 60 + t[2]
    print days * 86400 + seconds }'
}

# Where the results lie, into CONCORD_OUTPUT, and what has_work says. The words are --set of the study.
find_results() {
  local plan
  plan=$("$CONCORD_BIN" plan "$CONCORD_STUDY" "$@") || exit
  CONCORD_OUTPUT=$(sed -n 's/^results: //p' <<< "$plan")
  idle=" $(sed -n 's/^nothing to do in this study: //p' <<< "$plan" | tr -d ,) "
  [[ -n $CONCORD_OUTPUT ]] || refuse 70 "$CONCORD_BIN plan does not say where the results lie"
}
# Whether the study gives a stage anything to do.
has_work() { [[ $idle != *" $1 "* ]]; }
