package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// TestFaultThousandsOfPorts has a listener with 8,000 ports, which is 16,000 sockets on two loops. That takes a fraction
// of a second; with a search through all ports for each it would take several.
func TestFaultThousandsOfPorts(t *testing.T) {
	const most = 2 * time.Second
	if !inNamespace(t) {
		return
	}
	engines(t, func(t *testing.T, engine string) {
		for _, host := range []string{"[::1]", "[::]"} {
			b := testnet.Serve(t, "tcp", "", testnet.Echo)
			binary(t)
			began := time.Now()
			p := run(t, settings{engine: engine, backends: []string{b.Addr}, binds: []string{host + ":20000-27999"}})
			if took := time.Since(began); took > most {
				t.Errorf("8000 ports of %s were open after %v, want less than %v", host, took, most)
			}
			for _, port := range []int{20000, 23456, 27999} {
				c := testnet.Dial(t, "tcp", fmt.Sprintf("[::1]:%d", port))
				mustAsk(t, c, "hello")
				c.Close()
			}
			p.stop()
		}
	})
}

// TestFaultLinkLocalListener listens on a link-local address, which needs the number of its interface, and says so in the
// log as it is configured.
func TestFaultLinkLocalListener(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	tool(t, "ip", "link", "add", "near0", "type", "veth", "peer", "name", "near1")
	tool(t, "ip", "link", "set", "near0", "up")
	tool(t, "ip", "link", "set", "near1", "up")
	tool(t, "ip", "addr", "add", "fe80::4:1/64", "dev", "near0", "nodad")
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "[fe80::4:1%near0]:0", testnet.Echo)
		p := run(t, settings{engine: engine, backends: []string{b.Addr},
			binds: []string{"[fe80::4:1%near0]:8080", "[fe80::4:1%near0]:0"}})
		c := testnet.Dial(t, "tcp", "[fe80::4:1%near0]:8080")
		mustAsk(t, c, "hello")
		c.Close()
		if log := p.log(); strings.Count(log, `"address":"[fe80::4:1%near0]:`) != 2 {
			t.Errorf("the log does not name both addresses:\n%s", log)
		}
		p.stop()
	})
}
