package faults

import (
	"bytes"
	"crypto/tls"
	big "encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// readsFirst is a listener that reads PROXY protocol headers from 127.0.0.2 and ClientHellos from
// all clients. Clients without TLS, and those that ask for edge.example.com, are served.
const readsFirst = `    proxy_protocol: {from: 127.0.0.2}
    routes: [{sni: edge.example.com, pool: back}, {tls: false, pool: back}]
    timeouts: {handshake: 800ms}
`

// headerV2 is a PROXY header of version 2 with a length as given.
func headerV2(command, family byte, length int, block string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	return string(big.BigEndian.AppendUint16(b, uint16(length))) + block
}

const (
	// inet is 192.0.2.7:4711 -> 198.51.100.1:443.
	inet   = "\xc0\x00\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb"
	lineV1 = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
)

// clientHello is what a TLS client sends first.
func clientHello(t *testing.T) string {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	first := make(chan string, 1)
	go func() {
		p := make([]byte, 16<<10)
		n, _ := theirs.Read(p)
		theirs.Close()
		first <- string(p[:n])
	}()
	_ = tls.Client(ours, &tls.Config{ServerName: "edge.example.com"}).Handshake()
	return <-first
}

// TestFaultSlowFirstBytes (4, 10): clients that send their header or hello byte by byte, and
// clients that wait for the server to speak first, are ended at the deadline, which counts from
// accept. Others are served meanwhile, and nothing is left.
func TestFaultSlowFirstBytes(t *testing.T) {
	hello := clientHello(t)
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, binds: []string{front}, noSocket: true, backends: []string{b.Addr}, listener: readsFirst})
		before := p.openFiles()
		const each, limit = 100, 800 * time.Millisecond
		took := make(chan time.Duration, 3*each)
		slow := func(from, sent, rest string) {
			c := testnet.DialFrom(t, from, front)
			began := time.Now()
			go func() {
				_, _ = io.WriteString(c, sent)
				for _, piece := range strings.Split(rest, "") {
					if _, err := io.WriteString(c, piece); err != nil {
						return
					}
					time.Sleep(40 * time.Millisecond) // the client's pace
				}
			}()
			go func() {
				_, _ = io.Copy(io.Discard, c)
				took <- time.Since(began)
				c.Close()
			}()
		}
		for range each {
			slow("127.0.0.2", "", lineV1)
			slow("127.0.0.2", lineV1, hello)
			slow("127.0.0.1", "", "")
		}
		for range 20 {
			c := testnet.Dial(t, "tcp", front)
			began := time.Now()
			_, _ = io.WriteString(c, hello)
			got := make([]byte, len(hello))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != hello || time.Since(began) > limit {
				t.Errorf("another client: %v after %v", err, time.Since(began))
			}
			c.Close()
		}
		for range 3 * each {
			if d := <-took; d < limit*8/10 || d > limit+2*time.Second {
				t.Errorf("a slow client was ended after %v, the limit is %v", d, limit)
			}
		}
		testnet.Eventually(t, "all are in the log", func() bool {
			return strings.Count(p.log(), `"reason":"handshake_timeout"`) == 3*each
		})
		testnet.Eventually(t, "no descriptor is left", func() bool { return p.openFiles() <= before })
	})
}

// TestFaultHeaders (5, 6, 7, 8): headers of all kinds, from a peer that must send one and from one
// that must not. Only what follows a header reaches the backend, behind a header whose length is
// right.
func TestFaultHeaders(t *testing.T) {
	tlv := "\xea\x00\x05hello"
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, binds: []string{front}, noSocket: true, backends: []string{b.Addr}, listener: readsFirst,
			pool: `    send_proxy: {version: v2, pass_tlvs: true, unique_id: true}` + "\n"})
		for _, test := range []struct{ name, from, sent, client, payload string }{
			{"v1", "127.0.0.2", lineV1 + "GET", "192.0.2.7:4711", "GET"},
			{"v1 unknown", "127.0.0.2", "PROXY UNKNOWN\r\nGET", "127.0.0.2:", "GET"},
			{"v2 with TLVs", "127.0.0.2", headerV2(0x21, 0x11, 20, inet+tlv) + "GET", "192.0.2.7:4711", "GET"},
			{"v2 local", "127.0.0.2", headerV2(0x20, 0, 0, "") + "GET", "127.0.0.2:", "GET"},
			{"v2 local with TLVs", "127.0.0.2", headerV2(0x20, 0x11, 20, inet+tlv) + "GET", "127.0.0.2:", "GET"},
			{"not listed", "127.0.0.1", lineV1 + "GET", "127.0.0.1:", lineV1 + "GET"},
			{"garbage", "127.0.0.2", "GET / HTTP/1.1\r\n", "", ""},
			{"v1 with a bad address", "127.0.0.2", "PROXY TCP4 192.0.2.777 198.51.100.1 4711 443\r\nGET", "", ""},
			{"v1 too long", "127.0.0.2", "PROXY UNKNOWN " + strings.Repeat("a", 200) + "\r\nGET", "", ""},
			{"v2 shorter than its addresses", "127.0.0.2", headerV2(0x21, 0x11, 8, inet) + "GET", "", ""},
			{"v2 of an unknown family", "127.0.0.2", headerV2(0x21, 0x51, 12, inet) + "GET", "", ""},
			{"v2 with a TLV beyond its end", "127.0.0.2", headerV2(0x21, 0x11, 16, inet+"\xea\x00\x05h") + "GET", "", ""},
		} {
			for _, size := range []int{len(test.sent), 1} {
				c := testnet.DialFrom(t, test.from, front)
				for at := 0; at < len(test.sent); at += size {
					if _, err := io.WriteString(c, test.sent[at:min(at+size, len(test.sent))]); err != nil {
						break // refused already
					}
				}
				if test.client == "" {
					if got, err := io.ReadAll(c); len(got) > 0 || err != nil && !testnet.IsReset(err) {
						t.Errorf("%s: %q, %v", test.name, got, err)
					}
					c.Close()
					continue
				}
				_ = c.CloseWrite()
				peer := b.Accept(t)
				got, err := io.ReadAll(peer)
				if err != nil || len(got) < 16 {
					t.Fatalf("%s: the backend reads %q, %v", test.name, got, err)
				}
				length := int(big.BigEndian.Uint16(got[14:]))
				if header := got[:16]; !bytes.HasPrefix(header, []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11")) || string(got[16+length:]) != test.payload {
					t.Errorf("%s: the backend reads %q", test.name, got)
				}
				if source := net.IP(got[16:20]).String() + ":"; !strings.HasPrefix(test.client, source) {
					t.Errorf("%s: the backend learns %s, want %s", test.name, source, test.client)
				}
				peer.Close()
				c.Close()
			}
		}
		testnet.Eventually(t, "all are in the log", func() bool { return strings.Count(p.log(), `"reason":"bad_proxy_header"`) == 12 })
		for _, want := range []string{`"client":"192.0.2.7:4711"`, `"peer":"127.0.0.2:`} {
			if !strings.Contains(p.log(), want) {
				t.Errorf("the log lacks %s", want)
			}
		}
		if b.Accepted() != 12 {
			t.Errorf("%d connections to the backend", b.Accepted())
		}
	})
}
