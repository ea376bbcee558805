package traffic

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// What a client does, and what an origin does for it.
const (
	Request    = "request"    // client and origin: persistent connections, a request and its response, again and again
	Connection = "connection" // client and origin: a connection for each request; the origin closes it
	Send       = "send"       // client: sends bytes at full speed; the origin is a Sink
	Receive    = "receive"    // client: receives bytes; the origin is a Source
	Idle       = "idle"       // client: a request on each connection, then nothing; the origin is Request
	Visit      = "visit"      // client: as Connection, but each is recorded on its own; the origins are Backends
	Flow       = "flow"       // client: as Request at a rate, but what happens to each connection is recorded
	Backend    = "backend"    // origin: as Connection, with its number in the answer, and answers health checks
	Echo       = "echo"       // origin: sends back what it receives
	Sink       = "sink"       // origin: receives bytes and discards them
	Source     = "source"     // origin: sends bytes at full speed
)

// largestMessage bounds requests and responses.
const largestMessage = 1 << 20

// ClientSpec is a load and its target.
type ClientSpec struct {
	// Target are the addresses to connect to in turn, as IP:port.
	Target []string `json:"target"`
	// Sources are the IP addresses to connect from in turn; each has its own source ports. If it is
	// empty, the kernel chooses.
	Sources []string `json:"sources,omitempty"`
	// Work is Request, Connection, Send, Receive, Idle, Visit or Flow.
	Work string `json:"work"`
	// Connections is how many are open at the same time; the maximum for Visit, and for Connection
	// with a rate.
	Connections int `json:"connections"`
	// RequestBytes and ResponseBytes are from 1 to 1 MiB. Send and Receive ignore them.
	RequestBytes  int `json:"request_bytes,omitempty"`
	ResponseBytes int `json:"response_bytes,omitempty"`
	// Opening are the first bytes of each request, in place of the pattern. RequestBytes contains
	// them.
	Opening []byte `json:"opening,omitempty"`
	// Rate is operations per second on all connections together; 0 is a closed loop. Request and
	// Connection may have one, Visit and Flow must.
	Rate float64 `json:"rate,omitempty"`
	// ReadRate is how many bytes per second each connection of a Receive reads; 0 is no limit.
	ReadRate float64 `json:"read_rate,omitempty"`
	// Timeout is how long a Visit may take from connecting to the whole answer, and a Flow from a
	// message to its answer.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// Backends is how many origins may answer a Visit. They are numbered from 1.
	Backends int `json:"backends,omitempty"`
	// Newcomers are those of the Connections of a Flow that open during the first NewcomersOver of
	// the measured part.
	Newcomers     int           `json:"newcomers,omitempty"`
	NewcomersOver time.Duration `json:"newcomers_over_ns,omitempty"`
	// WarmUp is load before the measured part. It begins when all connections are open.
	WarmUp time.Duration `json:"warm_up_ns,omitempty"`
	// Duration of the measured part. 0 is until Limit is reached or, for Idle, until the context
	// ends.
	Duration time.Duration `json:"duration_ns,omitempty"`
	// Limit ends the run after that number of operations, failed ones included, or of bytes for
	// Send and Receive. 0 is no limit.
	Limit uint64 `json:"limit,omitempty"`
	// Verify compares every byte received.
	Verify bool `json:"verify,omitempty"`
	// Opened is called once, when all connections are open and, for Idle, have had their request.
	// For Connection it is called when the load is about to begin.
	Opened func() `json:"-"`
	// Measuring is called once, when the warm-up is over.
	Measuring func() `json:"-"`
}

func (s *ClientSpec) validate() error {
	switch {
	case works[s.Work] == nil:
		return fmt.Errorf("no work %q for a client: there are %s", s.Work, names(works))
	case len(s.Target) == 0:
		return errors.New("no target")
	case s.Connections < 1:
		return errors.New("at least 1 connection")
	case s.Rate < 0 || s.ReadRate < 0 || s.WarmUp < 0 || s.Duration < 0:
		return errors.New("nothing may be negative")
	case s.Rate > 0 && s.Work != Request && s.Work != Connection && s.Work != Visit && s.Work != Flow:
		return fmt.Errorf("a rate is for request, connection, visit and flow, not for %s", s.Work)
	case s.Work == Flow && (s.Rate == 0 || s.Timeout <= 0 || s.Duration == 0 || s.Limit > 0):
		return errors.New("flows have a rate, a timeout and a duration, and no limit")
	case s.Work == Flow && (s.Newcomers < 0 || s.Newcomers > s.Connections || s.NewcomersOver < 0 || s.NewcomersOver > s.Duration):
		return errors.New("newcomers are some of the connections, and come within the duration")
	case s.Work == Visit && (s.Rate == 0 || s.Timeout <= 0 || s.Backends < 1 || s.Duration == 0 || s.Limit > 0):
		return errors.New("visits have a rate, a timeout, backends and a duration, and no limit")
	case s.ReadRate > 0 && s.Work != Receive:
		return fmt.Errorf("a read rate is for receive, not for %s", s.Work)
	case s.Limit > 0 && s.WarmUp > 0:
		return errors.New("a limit counts from the start: no warm-up with it")
	case s.Limit > 0 && s.Work == Idle:
		return errors.New("idle connections have no limit")
	case s.Duration == 0 && s.Limit == 0 && s.Work != Idle:
		return errors.New("neither a duration nor a limit")
	case len(s.Opening) > s.RequestBytes:
		return errors.New("the opening is longer than a request")
	case s.Work != Send && s.Work != Receive:
		return validateSizes(s.RequestBytes, s.ResponseBytes)
	}
	return nil
}

// OriginSpec is what to serve, and where.
type OriginSpec struct {
	// Listen are addresses as IP:port. 0.0.0.0:port serves every address of the machine, all of
	// 127.0.0.0/8 included, with one socket.
	Listen []string `json:"listen"`
	// Work is Request, Connection, Backend, Echo, Sink or Source.
	Work string `json:"work"`
	// Number, from 1 to 255, is the first byte of a Backend's answers.
	Number int `json:"number,omitempty"`
	// RequestBytes and ResponseBytes are from 1 to 1 MiB; for Request, Connection and Backend.
	RequestBytes  int `json:"request_bytes,omitempty"`
	ResponseBytes int `json:"response_bytes,omitempty"`
	// Opening are the first bytes of each request, as in ClientSpec.
	Opening []byte `json:"opening,omitempty"`
	// ProxyHeader says that each connection begins with a header of the PROXY protocol, which is
	// taken off. A connection without one is reset.
	ProxyHeader bool `json:"proxy_header,omitempty"`
	// Verify compares every byte received.
	Verify bool `json:"verify,omitempty"`
}

func (s *OriginSpec) validate() error {
	switch {
	case len(s.Listen) == 0:
		return errors.New("no address to listen on")
	case services[s.Work].step == nil:
		return fmt.Errorf("no work %q for an origin: there are %s", s.Work, names(services))
	case s.Work == Backend && (s.Number < 1 || s.Number > 255):
		return fmt.Errorf("a backend has a number from 1 to 255, not %d", s.Number)
	case len(s.Opening) > 0 && len(s.Opening) > s.RequestBytes:
		return errors.New("the opening is longer than a request")
	case s.Work == Request || s.Work == Connection || s.Work == Backend:
		return validateSizes(s.RequestBytes, s.ResponseBytes)
	}
	return nil
}

// names returns the keys of a table, for an error message.
func names[V any](table map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(table)), ", ")
}

func validateSizes(request, response int) error {
	if request < 1 || request > largestMessage || response < 1 || response > largestMessage {
		return fmt.Errorf("requests and responses have 1 to %d bytes, not %d and %d", largestMessage, request, response)
	}
	return nil
}
