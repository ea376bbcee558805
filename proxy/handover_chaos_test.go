package proxy_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
	"l4proxy/listen"
	"l4proxy/proxy"
)

// chaosEnv is the number of hand-overs of each chaos test, if it is set.
const chaosEnv = "L4PROXY_HANDOVERS"

// chaosRounds is the number of hand-overs of each chaos test.
func chaosRounds(usual int) int {
	if n, err := strconv.Atoi(os.Getenv(chaosEnv)); err == nil {
		return n
	}
	return usual
}

// flowPlan is what happens on one connection. The client sends it ahead of its stream.
type flowPlan struct {
	Seed      uint64
	Up, Down  uint64 // bytes of the streams
	Ending    uint64 // one of the endings
	Slow      uint64 // who reads slowly: 0 neither, 1 the backend, 2 the client
	UpFirst   uint64 // the backend answers only after the client's FIN
	SizeUp    uint64
	SizeDown  uint64
	LingerFor uint64 // ms that a stream pauses in its middle
}

// How a connection ends.
const (
	endBoth         = iota // both streams end with a FIN
	endClientReset         // the client resets after its bytes
	endBackendReset        // the backend resets after its bytes
	endings
)

const planSize = 9 * 8

// chaosSize is how much a chaos test does.
type chaosSize struct {
	rounds int    // hand-overs
	slow   uint64 // the most bytes to a slow reader, whose small window costs time
}

func (size chaosSize) randomPlan(r *rand.Rand, canReset bool) flowPlan {
	sizes := []uint64{0, 1, 100, 5_000, 20_000, 300_000, 3_000_000}
	pieces := []uint64{1, 60, 1_000, 16 << 10, 100_000, 500_000}
	pick := func(from []uint64) uint64 { return from[r.IntN(len(from))] }
	p := flowPlan{
		Seed: r.Uint64() >> 1, Up: pick(sizes), Down: pick(sizes), SizeUp: pick(pieces), SizeDown: pick(pieces),
		Slow: uint64(r.IntN(3)), UpFirst: uint64(r.IntN(2)), LingerFor: uint64(r.IntN(3) * r.IntN(100)),
	}
	if p.Up/p.SizeUp > 5_000 || p.Down/p.SizeDown > 5_000 {
		p.SizeUp, p.SizeDown = 16<<10, 16<<10
	}
	// With a small window, a long stream would take longer than the test.
	switch p.Slow {
	case 1:
		p.Up = min(p.Up, size.slow)
	case 2:
		p.Down = min(p.Down, size.slow)
	}
	if canReset && r.IntN(3) == 0 {
		p.Ending = uint64(1 + r.IntN(endings-1))
		p.UpFirst = 0
	}
	return p
}

// send writes a stream with a pause in its middle. An urgent byte ends some of its pieces.
func (p *flowPlan) send(c testnet.Conn, s testnet.Stream, n, size uint64) error {
	for sent := uint64(0); sent < n; {
		k := min(size, n-sent, 1<<20)
		piece := s.Piece(int64(sent), int(k))
		if p.Seed%7 == 0 && sent == 0 && k > 1 {
			if err := sendUrgent(c, piece); err != nil {
				return err
			}
		} else if _, err := c.Write(piece); err != nil {
			return err
		}
		if sent <= n/2 && sent+k > n/2 {
			time.Sleep(time.Duration(p.LingerFor) * time.Millisecond)
		}
		sent += k
	}
	return nil
}

// sendUrgent makes the last byte of a piece the urgent one, on TCP.
func sendUrgent(c testnet.Conn, piece []byte) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		_, err := c.Write(piece)
		return err
	}
	last := len(piece) - 1
	if _, err := tcp.Write(piece[:last]); err != nil {
		return err
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), piece[last:], unix.MSG_OOB|unix.MSG_NOSIGNAL, nil)
		return !errors.Is(sent, syscall.EAGAIN)
	})
	return errors.Join(err, sent)
}

// slowReader makes a reader that pauses, so that buffers and pipes fill on the way.
type slowReader struct {
	io.Reader
	reads int
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.reads++; r.reads%8 == 1 && r.reads < 200 {
		time.Sleep(3 * time.Millisecond)
	}
	return r.Reader.Read(p)
}

// receive reads a stream to its end and checks every byte. reset says that the other side resets
// the connection after its bytes: then a part may be missing, but the stream must not look
// complete.
func (p *flowPlan) receive(c testnet.Conn, s testnet.Stream, n uint64, slow, reset bool) error {
	r := io.Reader(c)
	if slow {
		r = &slowReader{Reader: c}
	}
	got, err := s.Check(r, 64<<10)
	switch {
	case reset && testnet.IsReset(err):
		return nil
	case reset && err == nil:
		return errNotReset // the writer may have seen it: the kernel reports it once
	case err != nil:
		return fmt.Errorf("after %d of %d bytes: %w", got, n, err)
	case uint64(got) != n:
		return fmt.Errorf("the stream ended after %d of %d bytes", got, n)
	}
	return nil
}

var errNotReset = errors.New("the stream looks complete, and was reset")

// afterReset is what counts when the other side has reset the connection.
func afterReset(received, sent error) error {
	if testnet.IsReset(sent) {
		sent = nil
		if errors.Is(received, errNotReset) {
			received = nil
		}
	}
	return errors.Join(received, sent)
}

// client runs a plan against a proxy.
func (p *flowPlan) client(network, address string) error {
	c, err := testnet.TryDial(network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	if p.Slow == 2 {
		_ = c.SetReadBuffer(4 << 10)
	}
	header := make([]byte, planSize)
	if _, err := binary.Encode(header, binary.BigEndian, p); err != nil {
		return err
	}
	if _, err := c.Write(header); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	up, down := testnet.Stream(p.Seed), testnet.Stream(p.Seed+1)
	if p.Ending == endClientReset {
		if err := p.send(c, up, p.Up, p.SizeUp); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		return testnet.Reset(c)
	}
	var wg sync.WaitGroup
	var sent error
	wg.Go(func() {
		if sent = p.send(c, up, p.Up, p.SizeUp); sent == nil && p.Ending == endBoth {
			sent = c.CloseWrite()
		}
	})
	err = p.receive(c, down, p.Down, p.Slow == 2, p.Ending == endBackendReset)
	wg.Wait()
	if p.Ending == endBackendReset {
		return afterReset(err, sent)
	}
	return errors.Join(err, sent)
}

// serve is the backend's side.
func serve(c testnet.Conn) error {
	header := make([]byte, planSize)
	if _, err := io.ReadFull(c, header); err != nil {
		if testnet.IsReset(err) {
			return nil // a client that resets at once
		}
		return fmt.Errorf("header: %w", err)
	}
	var p flowPlan
	if _, err := binary.Decode(header, binary.BigEndian, &p); err != nil {
		return err
	}
	if p.Slow == 1 {
		_ = c.SetReadBuffer(4 << 10)
	}
	up, down := testnet.Stream(p.Seed), testnet.Stream(p.Seed+1)
	switch {
	case p.Ending == endBackendReset:
		err := p.send(c, down, p.Down, p.SizeDown)
		return errors.Join(err, testnet.Reset(c))
	case p.UpFirst == 1:
		if err := p.receive(c, up, p.Up, p.Slow == 1, false); err != nil {
			return fmt.Errorf("up first: %w", err)
		}
		return errors.Join(p.send(c, down, p.Down, p.SizeDown), c.CloseWrite())
	}
	var wg sync.WaitGroup
	var sent error
	wg.Go(func() {
		if sent = p.send(c, down, p.Down, p.SizeDown); sent == nil && p.Ending == endBoth {
			sent = c.CloseWrite()
		}
	})
	err := p.receive(c, up, p.Up, p.Slow == 1, p.Ending == endClientReset)
	wg.Wait()
	if p.Ending == endClientReset {
		err = afterReset(err, sent)
	} else {
		err = errors.Join(err, sent)
	}
	if err != nil {
		return fmt.Errorf("backend, plan %+v: %w", p, err)
	}
	return nil
}

// TestHandOverChaos moves random flows from server to server and back, many times, while clients
// come and go. Each byte and each end is as on a direct connection.
func TestHandOverChaos(t *testing.T) { handOversOfChaos(t, chaosSize{chaosRounds(10), 30_000}) }

// TestFaultHandOverChaos is the same for longer.
func TestFaultHandOverChaos(t *testing.T) {
	testenv.NeedSuite(t, "faults")
	handOversOfChaos(t, chaosSize{chaosRounds(20), 200_000})
}

func handOversOfChaos(t *testing.T, size chaosSize) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run("backends on "+network, func(t *testing.T) {
			enginePairs(t, func(t *testing.T, from, to string) { handOverChaos(t, network, from, to, size) })
		})
	}
}

func handOverChaos(t *testing.T, network, from, to string, size chaosSize) {
	dir := t.TempDir()
	headed := from != to // backends get a PROXY protocol header
	address := ""
	if network == "unix" {
		address = filepath.Join(dir, "back")
	}
	var busy atomic.Int64 // of the backend
	b := testnet.Serve(t, network, address, func(c testnet.Conn) {
		busy.Add(1)
		defer busy.Add(-1)
		if headed {
			head := make([]byte, 16)
			_, err := io.ReadFull(c, head)
			if err == nil {
				_, err = io.ReadFull(c, make([]byte, binary.BigEndian.Uint16(head[14:])))
			}
			if err != nil {
				if !testnet.IsReset(err) { // a client that resets at once, or a dial that was forgotten
					t.Errorf("PROXY protocol header: %v", err)
				}
				return
			}
		}
		if err := serve(c); err != nil {
			t.Error(err)
		}
	})
	servers := make([]*running, 2)
	for i, engine := range []string{from, to} {
		servers[i] = start(t, engine, []string{b.Addr}, func(s *setup) {
			s.listener.Binds = append(s.listener.Binds, listen.Bind{Path: filepath.Join(dir, strconv.Itoa(i))})
			if headed {
				sends(proxy.SendProxy{Version: 2})(s)
			}
		})
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var stop atomic.Bool
	var clients sync.WaitGroup
	var flows atomic.Int64
	for i := range 16 {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		clients.Go(func() {
			for !stop.Load() && !t.Failed() {
				bind := servers[random.IntN(2)].server.Addrs()[random.IntN(2)].Bind
				front := "tcp"
				if bind.IsUnix() {
					front = "unix"
				}
				p := size.randomPlan(random, front == "tcp" && network == "tcp")
				if err := p.client(front, addressOf(bind)); err != nil {
					t.Errorf("client on %s, plan %+v: %v", front, p, err)
				}
				flows.Add(1)
			}
		})
	}
	var total proxy.HandOverReport
	for i := range size.rounds {
		report := servers[i%2].handOver(servers[1-i%2])
		total.Moved += report.Moved
		total.Bytes += report.Bytes
		total.Longest = max(total.Longest, report.Longest)
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
	}
	stop.Store(true)
	clients.Wait()
	t.Logf("%d flows; %d moves with %d bytes on their way, the longest in %v", flows.Load(), total.Moved, total.Bytes, total.Longest)
	for _, r := range servers {
		testnet.Eventually(t, "all connections have ended", func() bool { return r.server.Connections() == 0 })
		if n := r.pool.Balancer.Members()[0].Active(); n != 0 {
			t.Errorf("%d connections are counted on the backend", n)
		}
	}
	testnet.Eventually(t, "the backend has read everything", func() bool { return busy.Load() == 0 })
	testnet.Eventually(t, "each client has a record", func() bool {
		return int64(len(servers[0].records.all())+len(servers[1].records.all())) >= flows.Load()
	})
	if n := int64(len(servers[0].records.all()) + len(servers[1].records.all())); n != flows.Load() {
		t.Errorf("%d records of %d clients", n, flows.Load())
	}
}
