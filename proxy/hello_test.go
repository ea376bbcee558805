package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"l4proxy/acl"
	"l4proxy/clientlimit"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
	"l4proxy/proxyproto"
	"l4proxy/route"
)

// What these headers say: the client is client, and has connected to wanted.
var client, wanted = netip.MustParseAddrPort("192.0.2.7:4711"), netip.MustParseAddrPort("198.51.100.1:443")

func header(version int, tlvs []byte) string {
	return string(proxyproto.Append(nil, proxyproto.Header{Version: version, Source: client, Destination: wanted, TLVs: tlvs}))
}

// fromHeaders makes the peers of some prefixes send a header first.
func fromHeaders(of ...string) func(*setup) {
	return func(s *setup) {
		s.listener.ProxyFrom = &proxy.ProxyFrom{Networks: acl.Build([]acl.Rule{{Allow: true, Prefixes: prefixes(of...)}}, false)}
		s.listener.Handshake = testnet.Patience
	}
}

// routed sends clients that ask for www.example.com to the first backend, those without TLS to
// the second, if there are two, and no others.
func routed(s *setup) {
	table, err := route.Build([]route.Route{{Names: []string{"www.example.com"}}, {Speaks: route.NotTLS}})
	if err != nil {
		panic(err)
	}
	s.listener.Routes, s.listener.Handshake = table, testnet.Patience
}

// helloFor is what a client of crypto/tls sends first.
func helloFor(t testing.TB, name string) string {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan string)
	go func() {
		got := make([]byte, 16<<10)
		n, _ := theirs.Read(got)
		theirs.Close()
		done <- string(got[:n])
	}()
	_ = tls.Client(ours, &tls.Config{ServerName: name, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}).Handshake()
	return <-done
}

// TestHeaderAtEverySplit: whatever pieces a header comes in, it names the client, and only what
// follows it reaches the backend.
func TestHeaderAtEverySplit(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), fromHeaders("127.0.0.0/8"))
		count := 0
		for _, first := range []string{header(1, nil), header(2, proxyproto.AppendTLV(nil, 0xEA, "leak"))} {
			for at := range len(first) + 1 {
				c := r.dial()
				write(t, c, first[:at])
				write(t, c, first[at:]+"payload")
				read(t, c, "payload")
				c.Close()
				count++
			}
			c := r.dial()
			for i := range len(first) {
				write(t, c, first[i:i+1])
			}
			write(t, c, "payload")
			_ = c.CloseWrite()
			if got, err := io.ReadAll(c); string(got) != "payload" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			c.Close()
			count++
		}
		for _, record := range r.ended(count) {
			if record.Client != client || !record.ViaProxy || !record.Peer.Addr().IsLoopback() || record.BytesIn != 7 || record.BytesOut != 7 {
				t.Errorf("record of %v by %v with %d bytes in and %d out", record.Client, record.Peer, record.BytesIn, record.BytesOut)
			}
		}
	})
}

// TestHeaderOfOthers: a header from a peer that is not listed is payload, and its address is not
// believed.
func TestHeaderOfOthers(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), fromHeaders("127.0.0.2/32"))
		c := r.dial()
		write(t, c, header(1, nil))
		read(t, c, header(1, nil))
		c.Close()
		if record := r.ended(1)[0]; !record.Client.Addr().IsLoopback() || record.ViaProxy {
			t.Errorf("the client is %v", record.Client)
		}
	})
}

// TestHeadersOnUnixSockets: peers on unix sockets may name clients too. A client without an address
// is UNKNOWN or UNSPEC to backends.
func TestHeadersOnUnixSockets(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, version := range []int{1, 2} {
			b := testnet.Listen(t, "unix", t.TempDir()+"/back")
			for _, listed := range []bool{true, false} {
				front := t.TempDir() + "/front"
				r := start(t, engine, addresses(b), sends(proxy.SendProxy{Version: version}), func(s *setup) {
					s.listener.Binds = []listen.Bind{{Path: front}}
					s.listener.ProxyFrom, s.listener.Handshake = &proxy.ProxyFrom{Unix: listed}, testnet.Patience
				})
				c := testnet.Dial(t, "unix", front)
				write(t, c, header(version, nil)+"x")
				peer := b.Accept(t)
				var h proxyproto.Header
				if listed {
					h = got(t, peer, "x")
				} else {
					h = got(t, peer, header(version, nil)+"x")
				}
				if (h.Source == client && h.Destination == wanted) != listed || h.Source.IsValid() != listed || h.Local {
					t.Errorf("version %d, listed %v: header %+v", version, listed, h)
				}
				c.Close()
				readEnd(t, peer)
				peer.Close()
				if record := r.ended(1)[0]; record.ViaProxy != listed || record.Peer.IsValid() {
					t.Errorf("record of %v by %v", record.Client, record.Peer)
				}
			}
		}
	})
}

// TestLimitsOfNamedClients: the limits of each client concern the address in the header, not the
// load balancer's, before and after a hand-over.
func TestLimitsOfNamedClients(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		limited := func(s *setup) {
			s.listener.Clients = clientlimit.New(clientlimit.Prefixes{IPv4: 32, IPv6: 64})
			s.listener.Clients.SetLimits(clientlimit.Limits{Connections: 1})
		}
		one := start(t, engine, addresses(b), fromHeaders("127.0.0.0/8"), limited)
		two := start(t, engine, addresses(b), fromHeaders("127.0.0.0/8"), limited)
		first, unnamed := one.dial(), one.dial()
		write(t, first, header(1, nil)+"x")
		read(t, first, "x")
		second := one.dial()
		write(t, second, header(1, nil)+"x")
		read(t, second, denyText)
		readEnd(t, second)
		second.Close()
		one.endedOne(proxy.SideProxy, proxy.ReasonClientConnections, 0, 0)
		if report := one.handOver(two); report.Moved != 2 {
			t.Errorf("report: %+v", report)
		}
		write(t, unnamed, header(1, nil)+"x")
		read(t, unnamed, denyText)
		readEnd(t, unnamed)
		unnamed.Close()
		two.endedOne(proxy.SideProxy, proxy.ReasonClientConnections, 0, 0)
		first.Close()
		two.ended(2)
		third := two.dial()
		write(t, third, header(1, nil)+"x")
		read(t, third, "x")
		third.Close()
		two.ended(3)
	})
}

// TestFirstBytesRefused: what ends a client while its first bytes are read, and what it sees.
func TestFirstBytesRefused(t *testing.T) {
	hello := helloFor(t, "www.example.com")
	other := helloFor(t, "mail.example.com")
	denied := func(s *setup) {
		rules(false, acl.Rule{Name: "allow[0]", Allow: true, Prefixes: prefixes("127.0.0.0/8")})(s)
	}
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			name  string
			setup []func(*setup)
			sent  string
			fin   bool
			side  proxy.Side
			why   proxy.Reason
			reads string
		}{
			{"garbage for a header", []func(*setup){fromHeaders("127.0.0.0/8")}, "GET / HTTP/1.1\r\n\r\n", false, proxy.SideProxy, proxy.ReasonBadProxyHeader, ""},
			{"a line without end", []func(*setup){fromHeaders("127.0.0.0/8")}, "PROXY UNKNOWN " + strings.Repeat("x", 4000), false, proxy.SideProxy, proxy.ReasonBadProxyHeader, ""},
			{"denied by its real address", []func(*setup){fromHeaders("127.0.0.0/8"), denied}, header(2, nil) + strings.Repeat("x", 100_000), false, proxy.SideProxy, proxy.ReasonDenied, denyText},
			{"a FIN within the header", []func(*setup){fromHeaders("127.0.0.0/8")}, "PROXY", true, proxy.SideClient, proxy.ReasonClosed, ""},
			{"a FIN within the hello", []func(*setup){routed}, hello[:100], true, proxy.SideClient, proxy.ReasonClosed, ""},
			{"no route", []func(*setup){routed}, other, false, proxy.SideProxy, proxy.ReasonNoRoute, "\x15\x03\x03\x00\x02\x02\x70"},
			{"a hello that is none", []func(*setup){routed}, hello[:5] + "\x02" + hello[6:], false, proxy.SideProxy, proxy.ReasonBadClientHello, ""},
		} {
			t.Run(test.name, func(t *testing.T) {
				b := testnet.Serve(t, "tcp", "", testnet.Echo)
				r := start(t, engine, addresses(b), test.setup...)
				c := r.dial()
				write(t, c, test.sent)
				if test.fin {
					_ = c.CloseWrite()
				}
				if got, err := io.ReadAll(c); string(got) != test.reads || err != nil {
					t.Errorf("the client reads %q, %v", got, err)
				}
				c.Close()
				r.endedOne(test.side, test.why, 0, 0)
				if b.Accepted() != 0 {
					t.Error("a backend was dialled")
				}
			})
		}
	})
}

// TestOneDeadlineForFirstBytes: a client that sends byte by byte is ended when the time from accept
// is over, in whatever phase it is, and one that sends nothing too.
func TestOneDeadlineForFirstBytes(t *testing.T) {
	hello := helloFor(t, "www.example.com")
	enginesTogether(t, func(t *testing.T, engine string) {
		const limit = 400 * time.Millisecond
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), routed, fromHeaders("127.0.0.0/8"), func(s *setup) { s.listener.Handshake = limit })
		slow, silent := r.dial(), r.dial()
		began := time.Now()
		go func() {
			for _, piece := range append([]string{header(2, nil)}, strings.Split(hello, "")...) {
				if _, err := io.WriteString(slow, piece); err != nil {
					return
				}
				time.Sleep(limit / 8) // the pace of the client, not a wait
			}
		}()
		readEnd(t, silent)
		readEnd(t, slow)
		if took := time.Since(began); took < limit*9/10 || took > limit+testnet.Patience/2 {
			t.Errorf("took %v", took)
		}
		slow.Close()
		silent.Close()
		for _, record := range r.ended(2) {
			if record.Side != proxy.SideProxy || record.Reason != proxy.ReasonHandshakeTimeout {
				t.Errorf("ended by %v: %v", record.Side, record.Reason)
			}
		}
	})
}

// TestHelloIsPassedOnUntouched: the hello decides about the pool in whatever pieces it comes, and
// the backend gets it as it was sent, with the FIN that follows.
func TestHelloIsPassedOnUntouched(t *testing.T) {
	hello := helloFor(t, "www.example.com")
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b), routed)
		step := max(1, len(hello)/40)
		count := 0
		for at := 1; at < len(hello); at += step {
			c := r.dial()
			write(t, c, hello[:at])
			write(t, c, hello[at:])
			if at%2 == 1 {
				_ = c.CloseWrite()
				if got, err := io.ReadAll(c); string(got) != hello || err != nil {
					t.Fatalf("split at %d: %d bytes of %d, %v", at, len(got), len(hello), err)
				}
			} else {
				read(t, c, hello)
			}
			c.Close()
			count++
		}
		for _, record := range r.ended(count) {
			if record.ServerName != "www.example.com" || record.BytesIn != uint64(len(hello)) {
				t.Errorf("%q, %d bytes", record.ServerName, record.BytesIn)
			}
		}
	})
}

// got reads a header from a backend's side, and then text.
func got(t *testing.T, peer testnet.Conn, text string) proxyproto.Header {
	t.Helper()
	var data []byte
	piece := make([]byte, 4096)
	for {
		h, n, err := proxyproto.Parse(data)
		switch {
		case err != nil:
			t.Fatalf("%v: %q", err, data)
		case n > 0 && len(data) >= n+len(text):
			if string(data[n:]) != text {
				t.Fatalf("after the header: %q, want %q", data[n:], text)
			}
			return h
		}
		k, err := peer.Read(piece)
		if data = append(data, piece[:k]...); err != nil {
			t.Fatalf("%v after %q", err, data)
		}
	}
}

// sends makes backends get a header.
func sends(p proxy.SendProxy) func(*setup) {
	return func(s *setup) {
		before := s.pooled
		s.pooled = func(pool *proxy.Pool) {
			if before != nil {
				before(pool)
			}
			pool.SendProxy = &p
		}
	}
}

// TestHeaderForBackends: the header comes alone at once if the client waits for the server, and
// with the client's first bytes if there are any. Backends that are tried after others get it too.
func TestHeaderForBackends(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, version := range []int{1, 2} {
			b := testnet.Listen(t, "tcp", "")
			r := start(t, engine, append([]string{testnet.Refusing(t)}, addresses(b)...), sends(proxy.SendProxy{Version: version}),
				func(s *setup) { s.policy = "first" })
			c := r.dial()
			peer := b.Accept(t)
			h := got(t, peer, "")
			if h.Version != version || h.Source.String() != c.LocalAddr().String() || h.Destination.String() != r.addr {
				t.Errorf("header %+v of a client %v at %v", h, c.LocalAddr(), r.addr)
			}
			write(t, peer, "220 ready")
			read(t, c, "220 ready")
			write(t, c, "HELO")
			read(t, peer, "HELO")
			c.Close()
			readEnd(t, peer)
			peer.Close()
			r.endedOne(proxy.SideClient, proxy.ReasonClosed, 4, 9)
		}
	})
}

// TestHeaderBeforeManyBytes: streams in both directions stay whole behind a header, from a client
// that has filled its socket before it was connected too.
func TestHeaderBeforeManyBytes(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), sends(proxy.SendProxy{Version: 2, PassTLVs: true}), fromHeaders("127.0.0.0/8"))
		const n = 8 << 20
		tlvs := proxyproto.AppendTLV(nil, 0xE3, strings.Repeat("t", 3000))
		c := r.dial()
		both(t, func() error {
			if _, err := io.WriteString(c, header(2, tlvs)); err != nil {
				return err
			}
			if err := testnet.Stream(1).Send(c, n, 100_000, 1); err != nil {
				return err
			}
			return c.CloseWrite()
		}, func() error {
			peer := b.Accept(t)
			defer peer.Close()
			var head bytes.Buffer
			if _, err := io.CopyN(&head, peer, int64(len(header(2, tlvs)))); err != nil {
				return err
			}
			if head.String() != header(2, tlvs) {
				t.Errorf("header %q", head.String())
			}
			return testnet.Stream(1).CheckExactly(peer, n, 65536)
		})
		c.Close()
		r.endedOne(proxy.SideClient, proxy.ReasonClosed, n, 0)
	})
}

// TestExtensionsForBackends: which TLVs a backend gets.
func TestExtensionsForBackends(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		hello := helloFor(t, "www.example.com")
		own := proxyproto.AppendTLV(nil, 0xE0, "own")
		came := proxyproto.AppendTLV(proxyproto.AppendTLV(proxyproto.AppendTLV(nil, 0xE0, "came"), 0xE1, "passed"), proxyproto.TypeAuthority, "old")
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b), routed, fromHeaders("127.0.0.0/8"),
			sends(proxy.SendProxy{Version: 2, PassTLVs: true, Authority: true, ALPN: true, UniqueID: true, TLVs: own}))
		c := r.dial()
		write(t, c, header(2, came)+hello)
		peer := b.Accept(t)
		h := got(t, peer, hello)
		tlvs := map[byte]string{}
		for kind, value := range proxyproto.TLVs(h.TLVs) {
			if tlvs[kind] != "" {
				t.Errorf("TLV %#x is repeated", kind)
			}
			tlvs[kind] = string(value)
		}
		c.Close()
		readEnd(t, peer)
		peer.Close()
		id := r.ended(1)[0].UniqueID
		if h.Source != client || h.Destination != wanted || len(tlvs) != 5 || tlvs[0xE0] != "own" || tlvs[0xE1] != "passed" ||
			tlvs[proxyproto.TypeAuthority] != "www.example.com" || tlvs[proxyproto.TypeALPN] != "h2" || id == "" || tlvs[proxyproto.TypeUniqueID] != id {
			t.Errorf("%+v with %q, id %q", h, tlvs, id)
		}
	})
}

// Requests of PostgreSQL clients.
const (
	sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	gssRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	startup    = "\x00\x00\x00\x09\x00\x03\x00\x00\x00"
)

// TestPostgresStartTLS: the client gets the answers of a server before a backend is known, and the
// backend gets the question before the hello. A backend that says no is followed by the next one.
func TestPostgresStartTLS(t *testing.T) {
	hello := helloFor(t, "www.example.com")
	engines(t, func(t *testing.T, engine string) {
		no, b := testnet.Listen(t, "tcp", ""), testnet.Listen(t, "tcp", "")
		postgres := func(s *setup) { s.policy, s.listener.StartTLS = "first", proxy.StartTLSPostgres }
		r := start(t, engine, addresses(no, b), routed, postgres, sends(proxy.SendProxy{Version: 1}))
		c := r.dial()
		write(t, c, gssRequest)
		read(t, c, "N")
		write(t, c, sslRequest[:3])
		write(t, c, sslRequest[3:])
		read(t, c, "S")
		write(t, c, hello)
		refusing := no.Accept(t)
		got(t, refusing, sslRequest)
		write(t, refusing, "N")
		readEnd(t, refusing)
		refusing.Close()
		peer := b.Accept(t)
		got(t, peer, sslRequest)
		write(t, peer, "S")
		read(t, peer, hello)
		write(t, peer, "answer")
		read(t, c, "answer")
		c.Close()
		readEnd(t, peer)
		peer.Close()
		record := r.endedOne(proxy.SideClient, proxy.ReasonClosed, int64(len(hello)), 6)
		if len(record.Failed) != 1 || record.Failed[0].Reason != proxy.ReasonStartTLSRefused {
			t.Errorf("failed dials: %v", record.Failed)
		}
		for i, first := range []string{hello, startup} { // direct TLS, and none
			c := r.dial()
			write(t, c, first)
			peer := no.Accept(t)
			got(t, peer, first)
			c.Close()
			readEnd(t, peer)
			peer.Close()
			r.ended(i + 2)
		}
		c = r.dial()
		write(t, c, gssRequest+gssRequest)
		read(t, c, "N")
		readEnd(t, c)
		c.Close()
		if all := r.ended(4); all[3].Reason != proxy.ReasonBadClientHello {
			t.Errorf("ended by %v", all[3].Reason)
		}
	})
}

// TestHandOverFirstBytes moves clients in the middle of their first bytes, and clients whose first
// bytes were read and who wait for a backend.
func TestHandOverFirstBytes(t *testing.T) {
	hello := helloFor(t, "www.example.com")
	all := header(2, proxyproto.AppendTLV(nil, 0xE5, "moved")) + hello + "more"
	enginePairsTogether(t, func(t *testing.T, from, to string) {
		b := testnet.Listen(t, "tcp", "")
		setups := []func(*setup){routed, fromHeaders("127.0.0.0/8"), queueing(1, 10, testnet.Patience),
			sends(proxy.SendProxy{Version: 2, PassTLVs: true})}
		one, two := start(t, from, addresses(b), setups...), start(t, to, addresses(b), setups...)
		served := one.dial()
		write(t, served, all)
		peer := b.Accept(t)
		got(t, peer, hello+"more")
		waiting := one.dial()
		write(t, waiting, all)
		one.waiting(1)
		var clients []testnet.Conn
		cuts := []int{0, 5, 60, len(all) - len(hello), len(all) - 10}
		for _, cut := range cuts {
			c := one.dial()
			write(t, c, all[:cut])
			clients = append(clients, c)
		}
		testnet.Eventually(t, "the clients are read", func() bool {
			page, err := one.server.ListConnections(context.Background(), proxy.ConnQuery{Limit: 100})
			n := 0
			for _, c := range page.Conns {
				if c.State == proxy.ConnHandshake {
					n++
				}
			}
			return err == nil && n == len(cuts)
		})
		if report := one.handOver(two); report.Moved != len(cuts)+2 || report.Left != 0 {
			t.Errorf("report: %+v", report)
		}
		served.Close()
		readEnd(t, peer)
		peer.Close()
		check := func(c testnet.Conn) {
			peer := b.Accept(t)
			if h := got(t, peer, hello+"more"); h.Source != client || h.Destination != wanted || !strings.Contains(string(h.TLVs), "moved") {
				t.Errorf("header %+v", h)
			}
			write(t, peer, "answer")
			read(t, c, "answer")
			c.Close()
			readEnd(t, peer)
			peer.Close()
		}
		check(waiting)
		for i, c := range clients {
			write(t, c, all[cuts[i]:])
			check(c)
		}
		for _, record := range two.ended(len(cuts) + 2) {
			if record.Client != client || record.ServerName != "www.example.com" || record.BytesIn != uint64(len(hello)+4) {
				t.Errorf("%v, %q, %d bytes in", record.Client, record.ServerName, record.BytesIn)
			}
		}
		one.ended(0)
	})
}
