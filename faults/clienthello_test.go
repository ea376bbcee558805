package faults

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// TestFaultBrokenClientHello sends real ClientHellos cut into pieces and records, which are routed
// by their name, and broken ones, which are refused. None reaches the pool for other clients.
func TestFaultBrokenClientHello(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		named := testnet.Serve(t, "tcp", "", testnet.Echo)
		others := testnet.Serve(t, "tcp", "", testnet.Echo)
		p := run(t, settings{
			engine: engine, backends: []string{others.Addr},
			listener: "    routes: [{sni: www.example.com, pool: named}]\n    timeouts: {handshake: 30s}",
			pool:     fmt.Sprintf("  named:\n    backends: [%q]", named.Addr),
		})
		for _, of := range []string{"go", "chromium", "openssl-classic"} {
			hello, err := os.ReadFile("../clienthello/testdata/" + of + ".hello")
			if err != nil {
				t.Fatal(err)
			}
			for what, pieces := range wholeHellos(hello) {
				if got, err := offer(p.socket, pieces); err != nil || !bytes.Equal(got, slices.Concat(pieces...)) {
					t.Errorf("%s, %s: %d bytes came back, %v", of, what, len(got), err)
				}
			}
			before := named.Accepted()
			for what, broken := range brokenHellos(hello) {
				if got, _ := offer(p.socket, [][]byte{broken}); len(got) > 0 {
					t.Errorf("%s, %s: %d bytes came back", of, what, len(got))
				}
			}
			if n := named.Accepted() - before; n > 0 {
				t.Errorf("%s: %d broken hellos were routed", of, n)
			}
		}
		if n := others.Accepted(); n > 0 {
			t.Errorf("%d clients reached the pool for others", n)
		}
	})
}

// offer sends pieces and a FIN, and returns what comes back.
func offer(socket string, pieces [][]byte) ([]byte, error) {
	c, err := testnet.TryDial("unix", socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(testnet.Patience)); err != nil {
		return nil, err
	}
	for _, piece := range pieces {
		if _, err := c.Write(piece); err != nil {
			break // a refused client is cut off
		}
	}
	_ = c.CloseWrite()
	return io.ReadAll(c)
}

// wholeHellos are ways to send a hello that all mean the same.
func wholeHellos(hello []byte) map[string][][]byte {
	ways := map[string][][]byte{"at once": {hello}, "upper case": {bytes.ReplaceAll(hello, []byte("www.example"), []byte("WWW.Example"))}}
	var each [][]byte
	for i := range hello {
		each = append(each, hello[i:i+1])
	}
	ways["byte by byte"] = each
	cuts := []int{1, 2, 3, 4, 5, 6, 9, 10, len(hello) - 1}
	for cut := 20; cut < len(hello); cut += len(hello) / 7 {
		cuts = append(cuts, cut)
	}
	size := int(hello[3])<<8 + int(hello[4])
	for _, cut := range cuts {
		ways[fmt.Sprintf("segments cut at %d", cut)] = [][]byte{hello[:cut], hello[cut:]}
		if cut >= size {
			continue
		}
		two := []byte{22, 3, 1, byte(cut >> 8), byte(cut)}
		two = append(two, hello[5:5+cut]...)
		two = append(two, 22, 3, 1, byte((size-cut)>>8), byte(size-cut))
		two = append(two, hello[5+cut:]...)
		ways[fmt.Sprintf("records cut at %d", cut)] = [][]byte{two[:5+cut], two[5+cut:]}
	}
	return ways
}

// brokenHellos are hellos that break the rules of TLS.
func brokenHellos(hello []byte) map[string][]byte {
	name := bytes.Index(hello, []byte("www.example.com"))
	broken := make(map[string][]byte)
	change := func(what string, at int, by byte) {
		b := slices.Clone(hello)
		b[at] += by
		broken[what] = b
	}
	for _, by := range []byte{1, 0xff} {
		change(fmt.Sprintf("message length %+d", int8(by)), 8, by)
		change(fmt.Sprintf("name length %+d", int8(by)), name-1, by)
		change(fmt.Sprintf("list length %+d", int8(by)), name-4, by)
		change(fmt.Sprintf("extension length %+d", int8(by)), name-6, by)
	}
	change("record length", 4, 0xff)
	change("another message", 5, 1)
	broken["cut off"] = hello[:len(hello)-1]
	for what, host := range map[string]string{"NUL": "www.example\x00com", "blank": "www example.com", "IP address": "111.111.111.111"} {
		broken[what] = bytes.ReplaceAll(hello, []byte("www.example.com"), []byte(host))
	}
	return broken
}
