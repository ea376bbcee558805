package main

import (
	"net/netip"
	"slices"
	"testing"
)

func TestHostsOfASite(t *testing.T) {
	s := onLoopback().origins
	for i, want := range map[int]string{0: "127.3.0.1", 254: "127.3.0.255", 255: "127.3.1.0", hosts - 1: "127.3.253.232", hosts: "127.3.0.1"} {
		if got := s.host(i); got != want {
			t.Errorf("host(%d) = %s, want %s", i, got, want)
		}
	}
}

// An access control list allows every address of a client, and no stranger.
func TestTrustedAreTheClients(t *testing.T) {
	p := onLoopback()
	for _, client := range append(p.sources, "127.0.0.1") {
		if !p.trusted.Contains(netip.MustParseAddr(client)) {
			t.Errorf("%v does not contain %s", p.trusted, client)
		}
	}
	if stranger := p.strangers.host(0); p.trusted.Contains(netip.MustParseAddr(stranger)) {
		t.Errorf("%v contains %s", p.trusted, stranger)
	}
}

// What is appended to one command line does not appear in another one.
func TestCommandLinesAreApart(t *testing.T) {
	p := onLoopback()
	p.proxies.within = append(make([]string, 0, 8), "env")
	one, two := append(p.proxy(), "one"), append(p.proxy(), "two")
	if !slices.Equal(one, []string{"env", "one"}) || !slices.Equal(two, []string{"env", "two"}) {
		t.Errorf("command lines %q and %q", one, two)
	}
}

func TestOpenPlace(t *testing.T) {
	p, err := openPlace(t.Context(), loopback)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	if _, err := openPlace(t.Context(), "moon"); err == nil || err.Error() != `no network "moon": there are loopback, namespaces` {
		t.Errorf("openPlace of an unknown network: %v", err)
	}
}
