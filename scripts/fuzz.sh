#!/usr/bin/env bash
# Runs every fuzz target of both modules one after another, each for the given
# time (default 30s): go test -fuzz takes one target of one package at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-30s}

for module in . bench; do
	# Lines "package target"; go test prints a package's targets before its "ok" line.
	targets=$(go test -C "$module" -list '^Fuzz' ./... | awk '/^Fuzz/ {names[n++] = $1} /^ok/ {for (i = 0; i < n; i++) print $2, names[i]; n = 0}')
	while read -r package target; do
		[ -n "$package" ] || continue
		echo "fuzz: $package $target for $duration"
		go test -C "$module" -run='^$' -fuzz="^$target\$" -fuzztime="$duration" "$package" </dev/null
	done <<<"$targets"
done
