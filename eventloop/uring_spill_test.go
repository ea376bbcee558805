package eventloop

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
	"l4proxy/internal/testenv"
)

// Peers that read nothing leave buffers for the others, however many they are, and lose none of the
// bytes sent to them.
func TestIOUringPeersThatReadNothingStopNoOtherPeer(t *testing.T) {
	networks := streams
	if testenv.Race {
		networks = streams[:1]
	}
	for _, network := range networks {
		t.Run(network, func(t *testing.T) {
			d, buffers := startIOUring(t)
			const most, stuck = 64, 100
			d.do(func() { buffers.most = most })
			sent := randomBytes(1 << 20)
			type pair struct {
				relay *testRelay
				from  net.Conn
				to    net.Conn
			}
			var pairs [stuck]pair
			for i := range pairs {
				a, from := d.pair(network)
				b, to := d.pair(network)
				rawsys.SetInt(d.loop.FD(b), unix.SOL_SOCKET, unix.SO_SNDBUF, 64<<10) // else megabytes wait there
				pairs[i] = pair{d.relay(a, b, never, never), from, to}
				go func() {
					_, _ = from.Write(sent)
					_ = from.(interface{ CloseWrite() error }).CloseWrite()
				}()
			}
			a, client := d.pair(network)
			b, server := d.pair(network)
			echo := d.relay(a, b, never, never)
			go func() {
				_, _ = io.Copy(struct{ io.Writer }{server}, struct{ io.Reader }{server}) // without splice(2) and its pipes
				_ = server.(interface{ CloseWrite() error }).CloseWrite()
			}()
			ask := func() {
				t.Helper()
				write(t, client, []byte("hello"))
				readString(t, client, "hello")
			}
			held := func() (sends, out int) {
				d.do(func() {
					out = buffers.out
					for s := range Slot(2 * stuck) {
						if d.loop.table.at(s).out.op == OpSend {
							sends++
						}
					}
				})
				return sends, out
			}
			for sends := 0; sends < stuck; sends, _ = held() {
				ask()
			}
			for range 100 {
				ask()
			}
			if _, out := held(); out > most {
				t.Errorf("%d shared buffers are in use of %d", out, most)
			}
			for _, p := range pairs {
				got, err := io.ReadAll(p.to)
				if err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("a peer that began to read late got %d of %d bytes, or wrong bytes, %v", len(got), len(sent), err)
				}
				finish(t, p.to)
				p.relay.await(t)
			}
			finish(t, client)
			echo.await(t)
			if _, out := held(); out != 0 {
				t.Errorf("%d buffers are in use after all has ended", out)
			}
		})
	}
}
