package faults

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// threeBackends are processes that can be killed.
func threeBackends(t *testing.T, backlog int) (all []*backendProcess, addresses []string) {
	t.Helper()
	for range 3 {
		b := startBackend(t, freeAddress(t, "127.0.0.1"), backlog)
		all, addresses = append(all, b), append(addresses, b.address)
	}
	return all, addresses
}

// expecting is a check of the echo servers.
const expecting = `    health: {type: expect, interval: 400ms, fast_interval: 100ms, timeout: 100ms, rise: 2, fall: 3,
             script: [{send: "ping"}, {receive: "ping"}]}
`

// logged waits for a log line about a backend.
func (p *process) logged(msg, about string) {
	p.t.Helper()
	testnet.Eventually(p.t, msg, func() bool {
		for line := range strings.Lines(p.log()) {
			if strings.Contains(line, `"`+msg+`"`) && strings.Contains(line, about) {
				return true
			}
		}
		return false
	})
}

// TestFaultBackendKilled kills one of three backends with SIGKILL under 1,000 new connections per
// second. No later client fails or waits, and the backend serves again when it is back.
func TestFaultBackendKilled(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		backends, addresses := threeBackends(t, shortBacklog)
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, binds: []string{front}, backends: addresses, pool: expecting})
		for _, address := range addresses {
			p.logged("backend up", address)
		}
		c := startCrowd(front, time.Millisecond)
		testnet.Eventually(t, "all is well", func() bool { return c.served() > 500 })
		began := time.Now()
		backends[0].kill()
		gone := time.Now()
		p.logged("backend down", addresses[0])
		backends[0].start()
		p.logged("backend up", addresses[0]+`","previous":"down"`)
		back := time.Now()
		served := c.served()
		testnet.Eventually(t, "the crowd goes on", func() bool { return c.served() > served+500 })
		after, cut := 0, 0
		slowest := time.Duration(0)
		for _, v := range c.end() {
			switch {
			case v.began.After(gone):
				after++
				slowest = max(slowest, v.took)
				if v.err != nil {
					t.Errorf("a client that came %v after the backend was gone: %v", v.began.Sub(gone), v.err)
				}
			case v.err != nil && v.began.Add(v.took).Before(began):
				t.Errorf("a client failed before anything had happened: %v", v.err)
			case v.err != nil:
				cut++
			}
		}
		if after < 1000 {
			t.Errorf("only %d clients came after the backend was gone", after)
		}
		t.Logf("%d clients after the kill, none failed; slowest %v; %d were cut off with the backend", after, slowest, cut)
		if p.carried(addresses[0]) == 0 {
			t.Error("the backend served nobody")
		}
		t.Logf("back after %v", back.Sub(gone))
		p.stop()
	})
}

// TestFaultBackendStopped stops one of three backends with SIGSTOP. Its kernel accepts connections
// until its queue is full, and then drops SYNs. Expect checks take it out of rotation. The few
// clients that it accepted get their answer when it continues, later clients are served at once,
// and no client fails.
func TestFaultBackendStopped(t *testing.T) {
	const detection = 3*100*time.Millisecond + 400*time.Millisecond + 2*100*time.Millisecond // fall, interval, timeouts
	engines(t, func(t *testing.T, engine string) {
		backends, addresses := threeBackends(t, shortBacklog)
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, binds: []string{front}, backends: addresses,
			pool: expecting + "    connect: {timeout: 3s, attempts: 3, hedge: 50ms}\n    policy: round_robin\n    slow_start: 1s\n"})
		for _, address := range addresses {
			p.logged("backend up", address)
		}
		c := startCrowd(front, 2*time.Millisecond)
		testnet.Eventually(t, "all is well", func() bool { return c.served() > 200 })
		stopped := time.Now()
		backends[0].signal(syscall.SIGSTOP)
		p.logged("backend down", addresses[0])
		served := c.served()
		testnet.Eventually(t, "the crowd goes on", func() bool { return c.served() > served+200 })
		backends[0].signal(syscall.SIGCONT)
		p.logged("backend up", addresses[0]+`","previous":"down"`)
		served = c.served()
		testnet.Eventually(t, "the crowd goes on", func() bool { return c.served() > served+200 })
		hung, slow := 0, 0
		slowest := time.Duration(0)
		for _, v := range c.end() {
			if v.err != nil {
				t.Errorf("a client that came %v after the stop: %v", v.began.Sub(stopped), v.err)
			}
			if v.took < 50*time.Millisecond || v.began.Before(stopped) {
				continue
			}
			slow++
			slowest = max(slowest, v.took)
			if v.began.Sub(stopped) > detection {
				t.Errorf("a client that came %v after the stop, when checks had to know of it, waited %v", v.began.Sub(stopped), v.took)
			}
			if v.took > 500*time.Millisecond {
				hung++
			}
		}
		// Its queue holds one more than the backlog. Dials in progress when it is full are hedged.
		if most := shortBacklog + 1 + 3; hung > most {
			t.Errorf("%d clients hung with the stopped backend, want at most %d", hung, most)
		}
		t.Logf("%d slow clients, %d of them with the stopped backend; slowest %v; none failed", slow, hung, slowest)
		p.stop()
	})
}

// TestFaultBackendHangs stops one of three backends whose kernel continues to accept every
// connection, without health checks. Its own clients detect it. After its ejection, no client
// waits. The waiting clients get their answer when it continues, and it serves again after the
// ejection.
func TestFaultBackendHangs(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		backends, addresses := threeBackends(t, longBacklog)
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, binds: []string{front}, backends: addresses,
			pool: "    outlier: {failures: 10, first_byte: 1s, eject: 3s}\n    policy: round_robin\n"})
		c := startCrowd(front, 2*time.Millisecond)
		testnet.Eventually(t, "all is well", func() bool { return c.served() > 200 })
		stopped := time.Now()
		backends[0].signal(syscall.SIGSTOP)
		p.logged("backend ejected", addresses[0])
		ejected := time.Now()
		served := c.served()
		testnet.Eventually(t, "the crowd goes on", func() bool { return c.served() > served+200 })
		backends[0].signal(syscall.SIGCONT)
		p.logged("backend ejection ended", addresses[0])
		over := time.Now()
		before := p.carried(addresses[0])
		testnet.Eventually(t, "it serves again", func() bool { return p.carried(addresses[0]) > before+20 })
		waited := 0
		for _, v := range c.end() {
			if v.err != nil {
				t.Errorf("a client that came %v after the stop: %v", v.began.Sub(stopped), v.err)
			}
			if v.took < 300*time.Millisecond {
				continue
			}
			waited++
			if v.began.After(ejected) && v.began.Before(over) {
				t.Errorf("a client that came %v after the ejection waited %v", v.began.Sub(ejected), v.took)
			}
		}
		if waited == 0 {
			t.Error("nobody had to wait: the backend did not hang")
		}
		t.Logf("ejected %v after the stop; %d clients had to wait; none failed", ejected.Sub(stopped), waited)
		p.stop()
	})
}

// TestFaultBackendFlaps starts and kills one of three backends every 500 ms. No client fails,
// checks do not follow every change, and with source_hash, clients of the other two stay where they
// are.
func TestFaultBackendFlaps(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		stable := []*testnet.Backend{named(t, "a", ""), named(t, "b", "")}
		address := freeAddress(t, "127.0.0.1")
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, binds: []string{front},
			backends: []string{stable[0].Addr, stable[1].Addr, address},
			pool:     "    policy: source_hash\n    health: {type: tcp, interval: 300ms, fast_interval: 300ms, timeout: 100ms, rise: 2, fall: 3}\n"})
		home := map[int]string{}
		const clients = 60
		moved, ticks := 0, time.NewTicker(500*time.Millisecond)
		defer ticks.Stop()
		for round := range 8 {
			var flapping *testnet.Backend
			if round%2 == 0 {
				flapping = named(t, "c", address)
			}
			for i := range clients {
				who, err := whoServes(front, i)
				if err != nil {
					t.Fatalf("round %d, client %d: %v", round, i, err)
				}
				if was := home[i]; was != "" && was != who && was != "c" && who != "c" {
					moved++
				}
				if who != "c" || home[i] == "" {
					home[i] = who
				}
			}
			<-ticks.C
			if flapping != nil {
				flapping.Close()
			}
		}
		if moved > 0 {
			t.Errorf("%d clients were moved from one stable backend to the other", moved)
		}
		changes := strings.Count(p.log(), `"backend down"`) + strings.Count(p.log(), `"backend up"`) - 3
		if changes > 4 {
			t.Errorf("checks changed their mind %d times in 4 s", changes)
		}
		p.stop()
	})
}

// named is a backend that sends its name.
func named(t *testing.T, name, address string) *testnet.Backend {
	t.Helper()
	return testnet.Serve(t, "tcp", address, func(c testnet.Conn) { _, _ = io.WriteString(c, name) })
}

// whoServes returns the name of the backend that serves client i. Every client has its own address.
func whoServes(front string, i int) (string, error) {
	d := net.Dialer{Timeout: testnet.Patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i))}}
	c, err := d.Dial("tcp", front)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(testnet.Patience))
	name, err := io.ReadAll(c)
	if err == nil && len(name) == 0 {
		err = fmt.Errorf("closed without a word")
	}
	return string(name), err
}

// TestFaultAllBackendsDown kills all backends. The listener does what when_no_backend says, and
// serves again when one is back.
func TestFaultAllBackendsDown(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		for _, test := range []struct {
			how  string
			pool string
			sees func(error, string) bool // what a client sees while no backend serves
		}{
			{"close", "", func(err error, said string) bool { return err == nil && said == "" }},
			{"reset", "", func(err error, said string) bool { return testnet.IsReset(err) }},
			{"message", "", func(err error, said string) bool { return err == nil && strings.Contains(said, "no backend") }},
			{"unlisten", "", func(err error, said string) bool { return err != nil && strings.Contains(err.Error(), "refused") }},
			{"queue", "    queue: {size: 10, timeout: 20s}\n", nil},
		} {
			t.Run(test.how, func(t *testing.T) {
				address, front := freeAddress(t, "127.0.0.1"), freeAddress(t, "127.0.0.1")
				b := testnet.Serve(t, "tcp", address, testnet.Echo)
				p := run(t, settings{engine: engine, binds: []string{front}, noSocket: true, backends: []string{address},
					listener: "    when_no_backend: " + test.how,
					pool:     "    health: {type: tcp, interval: 200ms, fast_interval: 50ms, rise: 1, fall: 2}\n" + test.pool})
				p.logged("backend up", address)
				old := testnet.Dial(t, "tcp", front)
				mustAsk(t, old, "hello")
				b.Die()
				p.logged("pool down: no usable backend", "back")
				if test.sees != nil {
					var said string
					var err error
					testnet.Eventually(t, "clients see "+test.how, func() bool {
						said, err = visitOnce(front)
						return test.sees(err, said)
					})
				}
				waits, err := testnet.TryDial("tcp", front)
				if test.how == "queue" {
					if err != nil {
						t.Fatal(err)
					}
					defer waits.Close()
					_, _ = io.WriteString(waits, "patience")
				} else if err == nil {
					waits.Close()
				}
				testnet.Serve(t, "tcp", address, testnet.Echo)
				p.logged("pool up again", "back")
				if test.how == "queue" {
					got := make([]byte, 8)
					if _, err := io.ReadFull(waits, got); err != nil || string(got) != "patience" {
						t.Errorf("who waited reads %q, %v", got, err)
					}
					waits.Close()
				}
				testnet.Eventually(t, "clients are served again", func() bool {
					c, err := testnet.TryDial("tcp", front)
					if err != nil {
						return false
					}
					defer c.Close()
					return ask(c, "hello") == nil
				})
				p.stop()
			})
		}
	})
}

// visitOnce connects and reads until the end of the stream.
func visitOnce(front string) (string, error) {
	c, err := testnet.TryDial("tcp", front)
	if err != nil {
		return "", err
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	return string(said), err
}

// TestFaultDownEndsConnections makes a backend hang that has waiting clients. on_down ends their
// connections, spread over time, and leaves those of other backends alone.
func TestFaultDownEndsConnections(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		backends, addresses := threeBackends(t, shortBacklog)
		front := freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, binds: []string{front}, backends: addresses,
			pool: expecting + "    policy: round_robin\n    on_down: reset\n    spread: 1s\n"})
		for _, address := range addresses {
			p.logged("backend up", address)
		}
		const clients = 60
		var all []testnet.Conn
		for range clients {
			c := testnet.Dial(t, "tcp", front)
			mustAsk(t, c, "hello")
			all = append(all, c)
		}
		backends[1].signal(syscall.SIGSTOP)
		testnet.Eventually(t, "its connections are ended", func() bool {
			n := 0
			for _, r := range p.records() {
				if r.Reason == "backend_down" {
					n++
				}
			}
			return n >= clients/3
		})
		ended, asked := 0, 0
		for _, c := range all {
			switch err := ask(c, "still there?"); {
			case err == nil:
				asked++
			case testnet.IsReset(err):
				ended++
			default:
				t.Errorf("a client sees %v", err)
			}
			c.Close()
		}
		if ended < clients/3-1 || ended > clients/3+1 || asked != clients-ended {
			t.Errorf("%d of %d connections were reset, %d go on", ended, clients, asked)
		}
		backends[1].signal(syscall.SIGCONT)
		p.stop()
	})
}

// TestFaultRebalanceAfterRecovery puts all long connections on one backend because the other was
// down. When it is back, idle connections are closed at the configured rate until the distribution
// is fair. Busy connections are left alone, and clients that reconnect reach the other backend.
func TestFaultRebalanceAfterRecovery(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		first := greeter(t, "a", "")
		address, front := freeAddress(t, "127.0.0.1"), freeAddress(t, "127.0.0.1")
		p := run(t, settings{engine: engine, binds: []string{front}, noSocket: true, backends: []string{first.Addr, address},
			pool: "    health: {interval: 200ms, fast_interval: 50ms, rise: 1, fall: 1}\n    rebalance: {rate: 20/s, jitter: 0%}\n"})
		p.logged("backend down", address)
		const clients, busy = 20, 5
		var conns []testnet.Conn
		for range clients {
			conns = append(conns, meet(t, front, "a"))
		}
		greeter(t, "b", address)
		p.logged("backend up", address)
		back := time.Now()
		ended := 0
		testnet.Eventually(t, "half of the connections have moved", func() bool {
			for _, c := range conns[:busy] {
				mustAsk(t, c, "busy")
			}
			if now := strings.Count(p.log(), `"reason":"rebalanced"`); now > ended {
				for range now - ended { // as clients do
					conns = append(conns, meet(t, front, ""))
				}
				ended = now
			}
			return ended >= clients/2-1
		})
		if took := time.Since(back); took < 400*time.Millisecond {
			t.Errorf("%d connections were ended within %v, with a rate of 20/s", ended, took)
		}
		quiet := time.Now()
		testnet.Eventually(t, "nothing happens for two seconds", func() bool {
			for _, c := range conns[:busy] {
				mustAsk(t, c, "busy")
			}
			return time.Since(quiet) > 2*time.Second
		})
		if now := strings.Count(p.log(), `"reason":"rebalanced"`); now > clients/2 {
			t.Errorf("%d of %d connections were ended", now, clients)
		}
		for _, c := range conns {
			c.Close()
		}
		p.stop()
	})
}

// greeter is a backend that sends its name, and then echoes.
func greeter(t *testing.T, name, address string) *testnet.Backend {
	t.Helper()
	return testnet.Serve(t, "tcp", address, func(c testnet.Conn) {
		_, _ = io.WriteString(c, name)
		testnet.Echo(c)
	})
}

// meet connects and reads the name of the backend, which must be the wanted one unless that is "".
func meet(t *testing.T, front, want string) testnet.Conn {
	t.Helper()
	c := testnet.Dial(t, "tcp", front)
	name := make([]byte, 1)
	if _, err := io.ReadFull(c, name); err != nil || want != "" && string(name) != want {
		t.Fatalf("served by %q, %v; want %q", name, err, want)
	}
	return c
}
