#!/usr/bin/env bash
# Runs golangci-lint at the version that versions.sh pins, built once into
# .tools through the Go module proxy (about 90 s on two cores).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/versions.sh

dir=$PWD/.tools/golangci-lint-$GOLANGCI_LINT_VERSION
if [ ! -x "$dir/golangci-lint" ]; then
	echo "building golangci-lint $GOLANGCI_LINT_VERSION" >&2
	GOBIN=$dir GOFLAGS=-buildvcs=false go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$GOLANGCI_LINT_VERSION"
fi
for module in . bench browser; do
	(cd "$module" && "$dir/golangci-lint" "${@:-run}")
done
