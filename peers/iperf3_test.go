package peers

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// iperf3Result is the part of iperf3's JSON that the test uses.
type iperf3Result struct {
	Error string `json:"error"`
	End   struct {
		Streams  []json.RawMessage `json:"streams"`
		Sent     iperf3Sum         `json:"sum_sent"`
		Received iperf3Sum         `json:"sum_received"`
	} `json:"end"`
}

type iperf3Sum struct {
	Bytes       uint64  `json:"bytes"`
	Retransmits *uint64 `json:"retransmits"` // only a TCP sender knows it
}

func TestPeerIperf3(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	iperf3 := testenv.NeedTool(t, "iperf3")
	port := testnet.FreePort(t)
	server := command{argv: []string{iperf3, "-s", "-B", "127.0.0.1", "-p", strconv.Itoa(port), "--forceflush"}}.start(t)
	server.says(t, &server.stdout, "Server listening on "+strconv.Itoa(port))

	const streams = 4
	eachEngine(t, func(t *testing.T, engine string) {
		p := startProxy(t, engine, fmt.Sprintf(`
listeners:
  upload: {bind: "127.0.0.1:0", pool: iperf3}
  download: {bind: "127.0.0.1:0", pool: iperf3}
pools:
  iperf3: {backends: ["127.0.0.1:%d"]}
`, port))
		up := runIperf3(t, iperf3, p.port(t, "upload"), streams)
		down := runIperf3(t, iperf3, p.port(t, "download"), streams, "--reverse")

		all := p.stop(t)
		// Besides the streams there is a control connection. At the end of the test, a sender
		// closes, or its peer closes, with bytes in flight.
		ways := []string{"closed client", "closed backend", "reset client", "reset backend"}
		all.of("upload").ended(t, "upload", streams+1, ways...)
		all.of("download").ended(t, "download", streams+1, ways...)
		t.Logf("upload: %v; download: %v", all.of("upload").endings(), all.of("download").endings())

		const talk = 64 << 10 // cookies, parameters and results
		in, _ := all.of("upload").bytes()
		within(t, "bytes in", in, up.End.Received.Bytes, up.End.Sent.Bytes+talk)
		_, out := all.of("download").bytes()
		within(t, "bytes out", out, down.End.Received.Bytes, down.End.Sent.Bytes+talk)
	})
}

func runIperf3(t *testing.T, iperf3, port string, streams int, more ...string) iperf3Result {
	t.Helper()
	argv := []string{iperf3, "-c", "127.0.0.1", "-p", port, "-P", strconv.Itoa(streams), "-t", "1", "-J"}
	out := command{argv: append(argv, more...)}.run(t)
	var r iperf3Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("iperf3: %v\n%s", err, tail(out))
	}
	if r.Error != "" || r.End.Sent.Bytes == 0 || r.End.Received.Bytes == 0 || len(r.End.Streams) != streams {
		t.Errorf("iperf3 %v: error %q, %d streams, %d bytes sent, %d received",
			more, r.Error, len(r.End.Streams), r.End.Sent.Bytes, r.End.Received.Bytes)
	}
	if r.End.Sent.Retransmits != nil {
		t.Logf("iperf3 %v: %d bytes received, %d retransmits", more, r.End.Received.Bytes, *r.End.Sent.Retransmits)
	}
	return r
}
