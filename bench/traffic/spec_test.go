package traffic

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// roundTrip writes v as JSON and reads it back. No field of v may be zero, or its loss would not
// show.
func roundTrip[T any](t *testing.T, v T, options ...cmp.Option) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	var back T
	if err := decoder.Decode(&back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v, back, options...); diff != "" {
		t.Errorf("through %s (-want +got):\n%s", text, diff)
	}
}

func TestJSON(t *testing.T) {
	roundTrip(t, ClientSpec{
		Target: []string{"127.0.0.1:1"}, Sources: []string{"127.0.0.2"}, Work: Request, Connections: 1, RequestBytes: 2,
		ResponseBytes: 3, Rate: 4.5, ReadRate: 5.5, Timeout: time.Hour, Backends: 7, WarmUp: time.Second, Duration: time.Minute, Limit: 1 << 62,
		Verify: true, Opened: func() {},
	}, cmpopts.IgnoreFields(ClientSpec{}, "Opened"))
	roundTrip(t, OriginSpec{
		Listen: []string{"0.0.0.0:1"}, Work: Request, Number: 1, RequestBytes: 3, ResponseBytes: 4, Verify: true,
	})
	some := Percentiles{P50: 1, P90: 2, P99: 3, P999: 4, Max: 5, Count: 6}
	roundTrip(t, ClientResult{
		Seconds: 1.5, Operations: 2, Failed: 3, Failures: map[string]uint64{"x": 3}, Unanswered: 4, BytesIn: 5, BytesOut: 6,
		Latency: some, Late: some, CPUSeconds: 7.5, PerSecond: []uint64{8, 9}, Began: 10,
		Visits: []Visited{{Began: 11, Connect: 12, Took: 13, Backend: 14, Failure: "y"}},
	})
}

func TestBadClientSpecs(t *testing.T) {
	for _, test := range []struct {
		spoil func(s *ClientSpec)
		want  string
	}{
		{func(s *ClientSpec) { s.Work = "nonsense" }, `no work "nonsense" for a client: there are connection, flow, idle, receive, request, send, visit`},
		{func(s *ClientSpec) { s.Target = nil }, "no target"},
		{func(s *ClientSpec) { s.Target = []string{"localhost:1"} }, "target: "},
		{func(s *ClientSpec) { s.Sources = []string{"127.0.0.2:1"} }, "source: "},
		{func(s *ClientSpec) { s.Sources = []string{"::1"} }, "either all IPv4 or all IPv6"},
		{func(s *ClientSpec) { s.Connections = 0 }, "at least 1 connection"},
		{func(s *ClientSpec) { s.Rate = -1 }, "negative"},
		{func(s *ClientSpec) { s.Work, s.Rate = Send, 1 }, "a rate is for request, connection, visit and flow, not for send"},
		{func(s *ClientSpec) { s.Work = Visit }, "visits have a rate, a timeout, backends and a duration, and no limit"},
		{func(s *ClientSpec) { s.ReadRate = 1 }, "a read rate is for receive, not for request"},
		{func(s *ClientSpec) { s.WarmUp = 1 }, "no warm-up"},
		{func(s *ClientSpec) { s.Work = Idle }, "idle connections have no limit"},
		{func(s *ClientSpec) { s.Limit = 0 }, "neither a duration nor a limit"},
		{func(s *ClientSpec) { s.RequestBytes = 0 }, "1 to 1048576 bytes, not 0 and 1"},
		{func(s *ClientSpec) { s.ResponseBytes = largestMessage + 1 }, "1 to 1048576 bytes, not 1 and 1048577"},
	} {
		spec := smallRequests("127.0.0.1:1")
		spec.Limit = 1
		test.spoil(&spec)
		if _, err := newClientRun(spec); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want one with: %s", err, test.want)
		}
	}
}

func TestBadOriginSpecs(t *testing.T) {
	for _, test := range []struct {
		spoil func(s *OriginSpec)
		want  string
	}{
		{func(s *OriginSpec) { s.Work = Idle }, `no work "idle" for an origin: there are backend, connection, echo, request, sink, source`},
		{func(s *OriginSpec) { s.Listen = nil }, "no address to listen on"},
		{func(s *OriginSpec) { s.Listen = []string{"127.0.0.1"} }, "listen: "},
		{func(s *OriginSpec) { s.Work = Backend }, "a number from 1 to 255, not 0"},
		{func(s *OriginSpec) { s.Work, s.Number = Backend, 256 }, "a number from 1 to 255, not 256"},
		{func(s *OriginSpec) { s.ResponseBytes = 0 }, "1 to 1048576 bytes, not 1 and 0"},
	} {
		spec := OriginSpec{Listen: []string{"127.0.0.1:0"}, Work: Request, RequestBytes: 1, ResponseBytes: 1}
		test.spoil(&spec)
		if _, err := newOrigin(spec); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("error %v, want one with: %s", err, test.want)
		}
	}
}
