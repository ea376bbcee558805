#!/usr/bin/env bash
# Installs what the tests use from Debian's packages: a C compiler for the race
# detector, the peers (HAProxy, nginx, Redis, PostgreSQL, ...) and the tools
# that cause faults. It never fails: it lists what it could not install, and
# tests that need one of those are skipped with that reason (or fail, if
# CI=true).
#
# With L4PROXY_NO_APT=1 it installs nothing.
set -euo pipefail

# command[|file glob] package: the package is installed if neither exists.
wanted='
make                                              make
gcc                                               gcc
|/usr/include/stdio.h                             libc6-dev
haproxy|/usr/sbin/haproxy                         haproxy
nginx|/usr/sbin/nginx                             nginx-light
|/usr/lib/nginx/modules/ngx_stream_module.so      libnginx-mod-stream
wrk                                               wrk
curl                                              curl
openssl                                           openssl
iperf3                                            iperf3
dnsmasq|/usr/sbin/dnsmasq                         dnsmasq-base
redis-server                                      redis-server
redis-benchmark                                   redis-tools
redis-cli                                         redis-tools
initdb|/usr/lib/postgresql/*/bin/initdb           postgresql
pgbench|/usr/lib/postgresql/*/bin/pgbench         postgresql
psql|/usr/lib/postgresql/*/bin/psql               postgresql-client
sshd|/usr/sbin/sshd                               openssh-server
ssh                                               openssh-client
ssh-keygen                                        openssh-client
mandoc                                            mandoc
ip|/usr/sbin/ip                                   iproute2
nft|/usr/sbin/nft                                 nftables
prlimit                                           util-linux
systemd-socket-activate                           systemd
systemd-analyze                                   systemd
promtool                                          prometheus
chromium                                          chromium
|/usr/share/fonts/opentype/inter/Inter-Regular.otf fonts-inter
'

missing() {
	local names command glob package
	while read -r names package; do
		[ -n "$names" ] || continue
		command=${names%%|*}
		glob=${names#"$command"}
		glob=${glob#|}
		if [ -n "$command" ] && command -v "$command" >/dev/null; then
			continue
		fi
		if [ -n "$glob" ] && compgen -G "$glob" >/dev/null; then
			continue
		fi
		echo "$package"
	done <<<"$wanted" | sort -u
}

# Debian's packages start their daemons on installation. The tests start their
# own, so a policy forbids that for the time being (invoke-rc.d(8)).
without_daemons() {
	local policy=/usr/sbin/policy-rc.d
	if [ -e "$policy" ]; then
		"$@"
		return
	fi
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	local status=0
	"$@" || status=$?
	rm -f "$policy"
	return "$status"
}

install() {
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@" </dev/null
}

packages=$(missing)
[ -n "$packages" ] || exit 0
# shellcheck disable=SC2086 # a list of words
set -- $packages

if [ "${L4PROXY_NO_APT:-}" = 1 ] || ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
	echo "test tools: not installed: $*" >&2
	echo "test tools: as root on Debian: apt-get install --no-install-recommends $*" >&2
	exit 0
fi

echo "test tools: installing $*" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt-get update --quiet </dev/null >"$log" 2>&1 || true
if ! without_daemons install "$@" >>"$log" 2>&1; then
	# One unavailable package must not prevent the others from being installed.
	for package in "$@"; do
		without_daemons install "$package" >>"$log" 2>&1 || true
	done
fi

packages=$(missing)
if [ -n "$packages" ]; then
	tail -n 20 "$log" >&2
	echo "test tools: could not install:" $packages >&2
fi
