package traffic

import (
	"slices"
	"strings"
	"testing"
	"time"

	"l4proxy/internal/testnet"
)

// someFlows is a client's spec for 4 flows, each with a message every 4 ms.
func someFlows(target string) ClientSpec {
	return ClientSpec{
		Target: []string{target}, Work: Flow, Connections: 4, RequestBytes: 1, ResponseBytes: 1, Verify: true,
		Rate: 1000, Duration: 40 * time.Millisecond, Timeout: testnet.Patience,
	}
}

func TestFlows(t *testing.T) {
	testnet.SameFiles(t)
	before := Now()
	spec := someFlows(startServer(t, func(conn testnet.Conn, _ int) { answer(conn, faultless) }))
	spec.Newcomers, spec.NewcomersOver = 2, spec.Duration
	got := runClient(t, spec)
	if len(got.Flows) != 4 || got.Failed != 0 || got.Operations < 10 {
		t.Fatalf("%d flows, %d operations, failures %v", len(got.Flows), got.Operations, got.Failures)
	}
	for i, f := range got.Flows {
		if f.Lost != 0 || f.Failure != "" || f.Stall <= 0 || f.Opened < before {
			t.Errorf("flow %d: %+v", i, f)
		}
	}
	// The newcomers come after 0 and 20 ms.
	if late := got.Flows[3].Opened - got.Began; late < int64(20*time.Millisecond) {
		t.Errorf("the last flow opened after %v", time.Duration(late))
	}
}

// A flow that fails is lost, at a known time, and is not opened again; the others continue.
func TestFlowsThatAreLost(t *testing.T) {
	// The second connection fails at its third message.
	third := func(fail func(conn testnet.Conn, response []byte)) func(*testing.T) string {
		return func(t *testing.T) string {
			return startServer(t, func(conn testnet.Conn, connection int) {
				answer(conn, func(message int, response []byte) bool {
					if connection == 1 && message == 2 {
						fail(conn, response)
						return response != nil && response[0] != pattern[0]
					}
					return true
				})
			})
		}
	}
	for _, test := range []struct {
		name    string
		target  func(*testing.T) string
		timeout time.Duration
		want    string
	}{
		{"reset", third(func(conn testnet.Conn, _ []byte) { _ = testnet.Reset(conn) }), 0, "receive: connection reset by peer"},
		{"closed", third(func(testnet.Conn, []byte) {}), 0, faultEarlyEnd},
		{"wrong byte", third(func(_ testnet.Conn, response []byte) { response[0]++ }), 0, faultBytes},
		{"mute", third(func(conn testnet.Conn, _ []byte) { _, _ = conn.Read(make([]byte, 1)) }), 20 * time.Millisecond, faultNoAnswer},
	} {
		t.Run(test.name, func(t *testing.T) {
			testnet.SameFiles(t)
			spec := someFlows(test.target(t))
			if test.timeout > 0 {
				spec.Timeout = test.timeout
			}
			before := Now()
			got := runClient(t, spec)
			lost := slices.DeleteFunc(slices.Clone(got.Flows), func(f Flowed) bool { return f.Lost == 0 })
			if len(lost) != 1 || got.Failed != 1 || lost[0].Failure != test.want {
				t.Fatalf("lost %+v, failures %v, want one with %q", lost, got.Failures, test.want)
			}
			if f := lost[0]; f.Lost < f.Opened || f.Opened < before || f.Stall < test.timeout {
				t.Errorf("%+v", f)
			}
		})
	}
}

// Flows that cannot open are lost too.
func TestFlowsThatAreRefused(t *testing.T) {
	got := runClient(t, someFlows(testnet.Refusing(t)))
	if got.Failures["connect: connection refused"] != 4 || got.Flows[0].Lost == 0 {
		t.Errorf("failures %v, flows %+v", got.Failures, got.Flows)
	}
}

// A held answer is the longest wait of its flow, and of no other.
func TestFlowsThatStall(t *testing.T) {
	const hold = 50 * time.Millisecond
	spec := someFlows(holdOne(t, hold, false))
	spec.Duration = 2 * hold
	got := runClient(t, spec)
	stalled := 0
	for _, f := range got.Flows {
		if f.Stall >= hold {
			stalled++
		}
	}
	if stalled == 0 || got.Failed > 0 {
		t.Errorf("flows %+v, failures %v", got.Flows, got.Failures)
	}
}

func TestSpecOfFlows(t *testing.T) {
	for _, change := range []func(*ClientSpec){
		func(s *ClientSpec) { s.Rate = 0 },
		func(s *ClientSpec) { s.Timeout = 0 },
		func(s *ClientSpec) { s.Newcomers = 5 },
		func(s *ClientSpec) { s.NewcomersOver = time.Hour },
	} {
		spec := someFlows("127.0.0.1:1")
		change(&spec)
		if err := spec.validate(); err == nil || !strings.Contains(err.Error(), "flows") && !strings.Contains(err.Error(), "newcomers") {
			t.Errorf("%+v: error %v", spec, err)
		}
	}
}
