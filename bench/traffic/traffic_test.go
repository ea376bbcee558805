package traffic

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

func TestMain(m *testing.M) {
	// Client and origin are in one process here, and both keep Ps while they wait.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 8))
	goleak.VerifyTestMain(m)
}

// startOrigin runs an origin until the test ends and returns its address.
func startOrigin(t *testing.T, spec OriginSpec) string {
	t.Helper()
	if spec.Listen == nil {
		spec.Listen = []string{"127.0.0.1:0"}
	}
	o, err := newOrigin(spec)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("the origin:", err)
		}
	})
	return o.addresses[0].String()
}

// bounded is a context for what should take no time: only a failing test waits until it ends.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testnet.Patience)
	t.Cleanup(cancel)
	return ctx
}

// startServer calls handle for each connection, with its number, and then closes it.
func startServer(t *testing.T, handle func(conn testnet.Conn, number int)) string {
	t.Helper()
	var connections atomic.Int32
	return testnet.Serve(t, "tcp", "", func(conn testnet.Conn) { handle(conn, int(connections.Add(1))-1) }).Addr
}

// await waits for a signal, or for the test's end.
func await(t *testing.T, signal <-chan struct{}) {
	select {
	case <-signal:
	case <-t.Context().Done():
	}
}

// answer serves requests of 1 byte with responses of 1 byte, which respond may change; false ends
// the connection.
func answer(conn net.Conn, respond func(number int, response []byte) bool) {
	for number := 0; ; number++ {
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil {
			return
		}
		b[0] = pattern[0]
		if !respond(number, b[:]) {
			return
		}
		if _, err := conn.Write(b[:]); err != nil {
			return
		}
	}
}

func faultless(int, []byte) bool { return true }

// smallRequests is a client's spec for requests and responses of 1 byte on one connection.
func smallRequests(target string) ClientSpec {
	return ClientSpec{Target: []string{target}, Work: Request, Connections: 1, RequestBytes: 1, ResponseBytes: 1}
}

// runClient runs a client that must not fail.
func runClient(t *testing.T, spec ClientSpec) ClientResult {
	t.Helper()
	result, err := RunClient(bounded(t), spec)
	if err != nil {
		t.Fatalf("%v, with %+v", err, result)
	}
	return result
}

// idleLoop is a loop that does not run, but whose load has begun, with one open connection to peer.
func idleLoop(t *testing.T, spec ClientSpec) (l *clientLoop, c *conn, peer int) {
	t.Helper()
	r, err := newClientRun(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.loop.close)
	r.fail = func(error) {}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[1]) })
	l = r.loop
	l.begun = true
	c = &l.conns[0]
	c.fd, c.state = int32(pair[0]), free
	return l, c, pair[1]
}

func sum(values []uint64) uint64 {
	var total uint64
	for _, v := range values {
		total += v
	}
	return total
}
