package health

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// Checks come from the given addresses of the server's family. One that this machine does not have
// is passed over.
func TestFrom(t *testing.T) {
	for address, want := range map[string]string{"127.0.0.1:0": "127.0.0.7", "[::1]:0": "::1"} {
		b := testnet.Listen(t, "tcp", address)
		to, err := net.ResolveTCPAddr("tcp", b.Addr)
		if err != nil {
			t.Fatal(err)
		}
		c := From(Origin{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.7")}}, NewExpect(nil))
		for range 4 {
			if err := c.Check(context.Background(), to, ""); err != nil {
				t.Fatal(err)
			}
			if own, _, _ := net.SplitHostPort(b.Accept(t).RemoteAddr().String()); own != want {
				t.Errorf("a check of %s comes from %s, want %s", b.Addr, own, want)
			}
		}
	}
}

// A check without a source address does not count against the server.
func TestFromNowhere(t *testing.T) {
	b := testnet.Listen(t, "tcp", "")
	to, _ := net.ResolveTCPAddr("tcp", b.Addr)
	c := From(Origin{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, NewTCP())
	if err := c.Check(context.Background(), to, ""); !isLocal(err) {
		t.Errorf("%v (%v), want EADDRNOTAVAIL", err, unix.EADDRNOTAVAIL)
	}
}
