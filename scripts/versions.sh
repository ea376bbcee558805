# The versions of the tools that are not Go modules of this project, in one
# place. Sourced by the other scripts.
# shellcheck shell=bash disable=SC2034

GOLANGCI_LINT_VERSION=v2.15.0

# Copied from npm packages, with their licences: see decision 8.
UPLOT_VERSION=1.6.32    # dist/uPlot.esm.js and dist/uPlot.min.css in admin/web/static/uplot
AXE_CORE_VERSION=4.14.1 # axe.min.js in browser/testdata
