package proxy_test

import (
	"context"
	"io"
	"testing"
	"time"

	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// TestDrainOver: with a spread, quiet connections are ended before the timeout, and the others are
// reported when it is over.
func TestDrainOver(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		r := start(t, engine, addresses(b))
		r.dial() // is quiet
		waits := r.dial()
		b.Accept(t)
		b.Accept(t)
		if _, err := io.WriteString(waits, "x"); err != nil {
			t.Fatal(err)
		}
		left := r.server.DrainOver(context.Background(), 600*time.Millisecond, 50*time.Millisecond, 10)
		if left.Connections != 1 || len(left.Oldest) != 1 || left.Oldest[0].Client != waits.LocalAddr().String() {
			t.Errorf("left: %+v", left)
		}
		for _, record := range r.ended(2) {
			want := proxy.ReasonDrained
			if record.Client.String() == waits.LocalAddr().String() {
				want = proxy.ReasonDrainTimeout
			}
			if !record.Is(proxy.SideProxy, want) {
				t.Errorf("%v ended by %v, %v, want %v", record.Client, record.Side, record.Reason, want)
			}
		}
	})
}

// handled waits until the loops have handled all messages so far, and the completions that these
// have caused.
func (r *running) handled() {
	for range 3 {
		r.server.Left(0)
	}
}

// refused checks that an address refuses clients.
func refused(t *testing.T, addr string) {
	t.Helper()
	testnet.Eventually(t, addr+" refuses clients", func() bool {
		c, err := testnet.TryDial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// TestDrainListener: new clients are refused, connections stay, and the listener can be reopened.
func TestDrainListener(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		c := r.dial()
		mustAsk(t, c, "before")
		r.server.DrainListener("other", true)
		r.server.DrainListener("front", true)
		r.handled()
		refused(t, r.addr)
		mustAsk(t, c, "meanwhile")
		r.server.DrainListener("front", false)
		r.handled()
		for range 10 { // the sockets of both loops
			mustAsk(t, r.dial(), "after")
		}
		mustAsk(t, c, "after")
	})
}

// TestDrainListenerCombines: a listener that is drained and whose pool cannot serve reopens only
// when both have ended.
func TestDrainListenerCombines(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		l := r.state.Listeners[0]
		unlisten := func(on bool) { r.server.SetListening(l, !on) }
		drain := func(on bool) { r.server.DrainListener(l.Name, on) }
		for _, do := range [][2]func(bool){{unlisten, drain}, {drain, unlisten}} {
			do[0](true)
			do[1](true)
			r.handled()
			refused(t, r.addr)
			do[0](false)
			r.handled()
			refused(t, r.addr)
			do[1](false)
			r.handled()
			mustAsk(t, r.dial(), "hello")
		}
	})
}

// TestDrainListenerUnix: clients of a unix socket are turned away without a message, and recorded.
func TestDrainListenerUnix(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		path := t.TempDir() + "/s"
		r := start(t, engine, addresses(b), func(s *setup) { s.listener.Binds = []listen.Bind{{Path: path}} })
		c := testnet.Dial(t, "unix", path)
		mustAsk(t, c, "before")
		r.server.DrainListener("front", true)
		r.handled()
		late := testnet.Dial(t, "unix", path)
		if _, err := late.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a new client reads %v, want EOF", err)
		}
		late.Close()
		if record := r.ended(1)[0]; !record.Is(proxy.SideProxy, proxy.ReasonDrained) {
			t.Errorf("its record: %v %v", record.Side, record.Reason)
		}
		mustAsk(t, c, "meanwhile")
		r.server.DrainListener("front", false)
		testnet.Eventually(t, "new clients are served again", func() bool {
			again := testnet.Dial(t, "unix", path)
			defer again.Close()
			_, _ = io.WriteString(again, "x")
			_, err := again.Read(make([]byte, 1))
			return err == nil
		})
		mustAsk(t, c, "after")
	})
}

// TestDrainWhileListenerIsDrained: the drain of the process does not wait for a listener that is
// closed already.
func TestDrainWhileListenerIsDrained(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		r := start(t, engine, addresses(b))
		r.server.DrainListener("front", true)
		r.handled()
		refused(t, r.addr)
		if left := r.server.Drain(context.Background(), testnet.Patience); left != 0 {
			t.Errorf("Drain = %d", left)
		}
	})
}

// TestApplyKeepsListenerDrained: a drained listener stays closed across States, also on a new
// address and on a unix socket.
func TestApplyKeepsListenerDrained(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		r := start(t, engine, addresses(greets(t, "o")))
		r.removes = true
		r.server.DrainListener("front", true)
		path := t.TempDir() + "/s"
		l := r.again()
		l.Binds = append(l.Binds, tcpBind("127.0.0.2:0"), listen.Bind{Path: path})
		r.apply(0, l)
		second := addressOf(r.server.Addrs()[1].Bind)
		refused(t, r.addr)
		refused(t, second)
		client := testnet.Dial(t, "unix", path)
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a client of the unix socket reads %v, want EOF", err)
		}
		r.server.SetListening(l, false)
		r.server.SetListening(l, true)
		r.handled()
		refused(t, r.addr)
		refused(t, second)
		r.server.DrainListener("front", false)
		r.handled()
		for _, addr := range []string{r.addr, second} {
			if got := greeting(t, testnet.Dial(t, "tcp", addr)); got != "o" {
				t.Errorf("a client of %s is greeted with %q", addr, got)
			}
		}
		if got := greeting(t, testnet.Dial(t, "unix", path)); got != "o" {
			t.Errorf("a client of the unix socket is greeted with %q", got)
		}
	})
}
