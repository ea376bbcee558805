package traffic

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/testnet"
)

func TestRunOrigin(t *testing.T) {
	testnet.SameFiles(t)
	ctx, cancel := context.WithCancel(bounded(t))
	ready := false
	if err := RunOrigin(ctx, OriginSpec{Listen: []string{"127.0.0.1:0"}, Work: Echo}, func() { ready = true; cancel() }); err != nil {
		t.Error(err)
	}
	if !ready {
		t.Error("it was never ready")
	}
}

func TestOriginSaysWhereItCannotListen(t *testing.T) {
	testnet.SameFiles(t)
	taken := testnet.Listen(t, "tcp", "").Addr
	err := RunOrigin(t.Context(), OriginSpec{Listen: []string{"127.0.0.1:0", taken}, Work: Echo}, nil)
	if want := "listening on " + taken + ": bind: address already in use"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// One socket on 0.0.0.0 is ten thousand backends: each address of the loopback network reaches it.
func TestOriginOnAllAddresses(t *testing.T) {
	spec := OriginSpec{Listen: []string{"0.0.0.0:0"}, Work: Request, RequestBytes: 1, ResponseBytes: 1}
	address := netip.MustParseAddrPort(startOrigin(t, spec))
	var targets []string
	for _, ip := range []string{"127.0.0.1", "127.1.2.3", "127.39.15.255"} {
		targets = append(targets, netip.AddrPortFrom(netip.MustParseAddr(ip), address.Port()).String())
	}
	client := smallRequests("")
	client.Target, client.Connections, client.Limit = targets, len(targets), 30
	if got := runClient(t, client); got.Operations != 30 {
		t.Errorf("%d operations: %v", got.Operations, got.Failures)
	}
}

func TestOriginListensOnEachAddress(t *testing.T) {
	testnet.SameFiles(t)
	const n = 300
	spec := OriginSpec{Work: Request, RequestBytes: 1, ResponseBytes: 1}
	for range n {
		spec.Listen = append(spec.Listen, "127.0.0.1:0")
	}
	o, err := newOrigin(spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bounded(t))
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx) }()
	client := smallRequests("")
	client.Target, client.Connections, client.Limit = nil, n, n
	for _, address := range o.addresses {
		client.Target = append(client.Target, address.String())
	}
	if got := runClient(t, client); got.Operations != n {
		t.Errorf("%d operations: %v", got.Operations, got.Failures)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// No other origin can share an address.
func TestOriginSharesNoPort(t *testing.T) {
	address := startOrigin(t, OriginSpec{Work: Echo})
	if _, err := newOrigin(OriginSpec{Listen: []string{address}, Work: Echo}); err == nil {
		t.Error("two origins listen on the same address")
	}
}

func TestEcho(t *testing.T) {
	conn := testnet.Dial(t, "tcp", startOrigin(t, OriginSpec{Work: Echo}))
	stream := testnet.Stream(1)
	const n = 4 << 20
	sent := make(chan error, 1)
	go func() {
		err := stream.Send(conn, n, 1, 1000, 1<<20)
		sent <- errors.Join(err, conn.CloseWrite())
	}()
	if err := stream.CheckExactly(conn, n, 100_000); err != nil {
		t.Error(err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// Requests that arrive together are answered one after the other, also with large answers.
func TestPipelinedRequests(t *testing.T) {
	const requests, request, response = 20, 3, 200_000
	address := startOrigin(t, OriginSpec{Work: Request, RequestBytes: request, ResponseBytes: response, Verify: true})
	conn := testnet.Dial(t, "tcp", address)
	together := strings.Repeat(string(pattern[:request]), requests)
	if _, err := io.WriteString(conn, together); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, response)
	for i := range requests {
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatal(err)
		}
		if !matches(got, 0, true) {
			t.Errorf("response %d is another one", i)
		}
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(got); err != io.EOF {
		t.Errorf("%d bytes, %v, after the last response", n, err)
	}
}

func TestOriginClosesFirst(t *testing.T) {
	const size = 300_000
	address := startOrigin(t, OriginSpec{Work: Connection, RequestBytes: 1, ResponseBytes: size})
	conn := testnet.Dial(t, "tcp", address)
	if _, err := conn.Write(pattern[:1]); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil || len(all) != size || !matches(all, 0, true) {
		t.Errorf("%d bytes, %v, want the response and its end", len(all), err)
	}
}

// It closes only after a response that had to wait has been sent.
func TestOriginClosesAfterTheResponse(t *testing.T) {
	l := &originLoop{spec: OriginSpec{RequestBytes: 1, ResponseBytes: largestMessage}, in: make([]byte, receiveBuffer)}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if _, err := unix.Write(pair[1], pattern[:1]); err != nil {
		t.Fatal(err)
	}
	c := &originConn{readable: true}
	waits := 0
	for ; answerOnce(l, int32(pair[0]), c) == goOn; waits++ {
		if _, err := unix.Read(pair[1], l.in); err != nil {
			t.Fatal(err)
		}
	}
	if waits == 0 || c.sent != largestMessage {
		t.Errorf("it closes after %d bytes of %d, and %d waits", c.sent, largestMessage, waits)
	}
}

func TestSourceStopsWithItsClient(t *testing.T) {
	testnet.SameFiles(t)
	address := startOrigin(t, OriginSpec{Work: Source})
	before := testnet.OpenFiles(t)
	conn := testnet.Dial(t, "tcp", address)
	got := make([]byte, 1<<20)
	if _, err := io.ReadFull(conn, got); err != nil || !matches(got, 0, true) {
		t.Errorf("%v, or other bytes than the pattern's", err)
	}
	conn.Close()
	testnet.Eventually(t, "the origin closes its end", func() bool { return testnet.OpenFiles(t) == before })

	// A client that has sent FIN but still reads gets a FIN.
	conn = testnet.Dial(t, "tcp", address)
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Error(err)
	}
}

func TestRequestsThatAreReadTogether(t *testing.T) {
	l := &originLoop{spec: OriginSpec{Verify: true}}
	together := []byte(strings.Repeat(string(pattern[:3]), 4))
	for position := range 3 {
		if !l.matchesRequests(together[position:], uint64(position), 3) {
			t.Errorf("requests do not match from byte %d on", position)
		}
	}
	together[7]++
	if l.matchesRequests(together, 0, 3) {
		t.Error("a wrong byte in the third request does not show")
	}
}

// An origin without descriptors fails: a slow one would look like a slow proxy.
func TestOriginWithoutDescriptors(t *testing.T) {
	testnet.SameFiles(t)
	o, err := newOrigin(OriginSpec{Listen: []string{"127.0.0.1:0"}, Work: Echo})
	if err != nil {
		t.Fatal(err)
	}
	client, errno := rawsys.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer rawsys.Close(client)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: 1, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	errno = rawsys.InetSockaddr(o.addresses[0], 0).Connect(client)
	err = o.run(bounded(t))
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if errno != unix.EINPROGRESS {
		t.Fatal(errno)
	}
	if want := "accept: too many open files"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// An origin resets a connection with bytes that no client sends.
func TestOriginResetsOnWrongBytes(t *testing.T) {
	wrongLast := []byte(strings.Clone(string(pattern[:1000])))
	wrongLast[999]++
	wrongWithin := []byte(strings.Clone(string(pattern[:1000])))
	wrongWithin[500]++
	for _, test := range []struct {
		name  string
		spec  OriginSpec
		sent  []byte
		reset bool
	}{
		{"first byte", OriginSpec{Work: Request, RequestBytes: 1, ResponseBytes: 1}, []byte{pattern[0] + 1}, true},
		{"last byte", OriginSpec{Work: Connection, RequestBytes: 1000, ResponseBytes: 1}, wrongLast, true},
		{"within", OriginSpec{Work: Request, RequestBytes: 1000, ResponseBytes: 1, Verify: true}, wrongWithin, true},
		{"within, unseen", OriginSpec{Work: Request, RequestBytes: 1000, ResponseBytes: 1}, wrongWithin, false},
		{"stream", OriginSpec{Work: Sink}, pattern[1:2], true},
		{"right stream", OriginSpec{Work: Sink, Verify: true}, pattern[:1000], false},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := testnet.Dial(t, "tcp", startOrigin(t, test.spec))
			if _, err := conn.Write(test.sent); err != nil {
				t.Fatal(err)
			}
			_ = conn.CloseWrite() // fails where the reset has come already
			_, err := io.Copy(io.Discard, conn)
			if testnet.IsReset(err) != test.reset || err != nil && !test.reset {
				t.Errorf("the connection ends with %v", err)
			}
		})
	}
}

func TestOriginEndsWithConnectionsOpen(t *testing.T) {
	testnet.SameFiles(t)
	o, err := newOrigin(OriginSpec{Listen: []string{"127.0.0.1:0"}, Work: Request, RequestBytes: 1, ResponseBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bounded(t))
	client := smallRequests(o.addresses[0].String())
	client.Duration = time.Hour
	client.Opened = cancel
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx) }()
	if _, err := RunClient(bounded(t), client); err == nil {
		t.Error("a client whose origin ended has found nothing")
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
