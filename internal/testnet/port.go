package testnet

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"testing"
)

// FreePort returns an unused TCP port of the loopback address, for servers that do not accept port
// 0, and for addresses that are bound again later. It lies below the ports that the kernel assigns
// to clients, so that no client takes it in the meantime (ip(7), ip_local_port_range).
func FreePort(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Fatal(err)
	}
	const first = 10000
	var low int
	if _, err := fmt.Sscan(string(text), &low); err != nil || low <= first {
		low = 32768 // the kernel's default
	}
	for range 100 {
		port := first + rand.IntN(low-first)
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("found no free port in 100 attempts")
	return 0
}
