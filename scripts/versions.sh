# The versions of the tools that are not Go modules of this project, in one
# place. Sourced by the other scripts.
# shellcheck shell=bash disable=SC2034

GOLANGCI_LINT_VERSION=v2.15.0
