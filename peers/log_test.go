package peers

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// connection is the line of a finished connection.
type connection struct {
	Listener    string  `json:"listener"`
	Client      string  `json:"client"`
	Backend     string  `json:"backend"`
	Pool        string  `json:"pool"`
	BytesIn     uint64  `json:"bytes_in"`
	BytesOut    uint64  `json:"bytes_out"`
	Duration    float64 `json:"duration"`
	ConnectTime float64 `json:"connect_time"`
	Attempts    int     `json:"attempts"`
	Reason      string  `json:"reason"`
	Side        string  `json:"side"`
	Rule        string  `json:"rule"`
	RTT         float64 `json:"tcp_rtt"`
	Retransmits uint64  `json:"retransmits"`
	Peer        string  `json:"peer"`
	SNI         string  `json:"sni"`
}

type connections []connection

// readLog returns the finished connections. It checks that the log has no unexpected line above
// level info, that no connection had to be closed at the end, and that every client was served.
func readLog(t testing.TB, log string, expected ...string) connections {
	t.Helper()
	var all connections
	stopped := false
	for text := range strings.Lines(log) {
		var line struct {
			Level   string `json:"level"`
			Message string `json:"msg"`
			Closed  *int   `json:"closed"`
			connection
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("log line is not JSON: %v: %s", err, text)
			continue
		}
		if line.Level != "INFO" && !slices.Contains(expected, line.Message) {
			t.Errorf("log line at level %s: %s", line.Level, text)
		}
		switch line.Message {
		case "connection":
			c := line.connection
			if c.Backend == "" || c.Pool == "" || c.Client == "" || c.Attempts < 1 || c.Rule != "" {
				t.Errorf("a client was not served: %s", text)
			}
			if c.ConnectTime < 0 || c.Duration < c.ConnectTime {
				t.Errorf("times do not add up: %s", text)
			}
			all = append(all, c)
		case "stopped":
			stopped = true
			if line.Closed == nil || *line.Closed != 0 {
				t.Errorf("connections were left at the end: %s", text)
			}
		}
	}
	if !stopped {
		t.Errorf("no line says that the proxy has stopped:\n%s", tail(log))
	}
	return all
}

// of returns the connections of one listener.
func (cs connections) of(listener string) connections {
	return slices.DeleteFunc(slices.Clone(cs), func(c connection) bool { return c.Listener != listener })
}

// bytes returns the sums of both directions.
func (cs connections) bytes() (in, out uint64) {
	for _, c := range cs {
		in += c.BytesIn
		out += c.BytesOut
	}
	return in, out
}

// backends counts the connections of each backend.
func (cs connections) backends() map[string]int {
	counts := map[string]int{}
	for _, c := range cs {
		counts[c.Backend]++
	}
	return counts
}

// endings counts the connections by "reason side".
func (cs connections) endings() map[string]int {
	counts := map[string]int{}
	for _, c := range cs {
		counts[c.Reason+" "+c.Side]++
	}
	return counts
}

// ended checks that there are n connections, that each needed one attempt, and that each ended in
// one of the given ways, written as "reason side".
func (cs connections) ended(t testing.TB, what string, n int, allowed ...string) {
	t.Helper()
	if len(cs) != n {
		t.Errorf("%s: %d connections, want %d", what, len(cs), n)
	}
	for ending, count := range cs.endings() {
		if !slices.Contains(allowed, ending) {
			t.Errorf("%s: %d of %d connections ended with %q, want one of %q", what, count, len(cs), ending, allowed)
		}
	}
	for _, c := range cs {
		if c.Attempts != 1 {
			t.Errorf("%s: %d attempts for %s, want 1", what, c.Attempts, c.Client)
		}
	}
}

// within checks that a count lies between two limits.
func within(t testing.TB, what string, got, least, most uint64) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s: %d, want %d to %d", what, got, least, most)
	}
}
