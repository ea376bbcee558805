// Package peers tests l4proxy with real servers and their own clients: Redis, PostgreSQL, nginx,
// HAProxy, iperf3 and ssh, from Debian's packages, with each engine. It contains only tests, which
// run with "make peers".
//
// After each test, the proxy must have as many descriptors as at its start, stop without having to
// close a connection, and account for every byte in its log, with no line above level info.
package peers
