#!/usr/bin/env bash
# Runs every fuzz target of both modules one after another, each for the given
# time (default 30s): go test -fuzz takes one target of one package at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-30s}
output=$(mktemp)
trap 'rm -f "$output"' EXIT

# fuzz runs one target. Before Go 1.27, the coordinator may report its own deadline, the end of
# -fuzztime, as a failure (go.dev/issue/75804). Then no failing input was found, and the error has no
# other line.
fuzz() {
	if go test -C "$module" -run='^$' -fuzz="^$target\$" -fuzztime="$duration" "$package" </dev/null 2>&1 | tee "$output"; then
		return 0
	fi
	grep -A2 '^--- FAIL' "$output" | tr -d '\n' | grep -Eq '^--- FAIL: [^ ]+ \([0-9.]+s\) +context deadline exceededFAIL$' || return 1
	! grep -q 'Failing input written' "$output" || return 1
	echo "fuzz: the failure is that of go.dev/issue/75804: no failing input was found"
}

for module in . bench; do
	# Lines "package target"; go test prints a package's targets before its "ok" line.
	targets=$(go test -C "$module" -list '^Fuzz' ./... | awk '/^Fuzz/ {names[n++] = $1} /^ok/ {for (i = 0; i < n; i++) print $2, names[i]; n = 0}')
	while read -r package target; do
		[ -n "$package" ] || continue
		echo "fuzz: $package $target for $duration"
		fuzz
	done <<<"$targets"
done
