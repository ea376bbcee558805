package config

import (
	"fmt"
	"strconv"
	"time"
)

// Health is how the backends of a pool are checked.
type Health struct {
	Type HealthType
	// Interval is the time from one check of a backend to the next, and FastInterval, never longer,
	// the same while its state is in doubt.
	Interval, FastInterval time.Duration
	// Timeout bounds one check.
	Timeout time.Duration
	// Jitter is by how much an interval may be shorter, 0 to 50 percent.
	Jitter int
	// Rise is how many passes in a row bring a backend up, Fall how many failures in a row take it
	// down.
	Rise, Fall int
	// Port is checked instead of the backend's; 0 is the backend's own.
	Port uint16
	// ServerName is the name to ask for and to verify; "" is the backend's host. TLS only.
	ServerName string
	// Verify asks for a certificate that is valid for ServerName or, when that is empty, for the
	// backend's host, a name or an IP address.
	Verify bool
	// TLS asks for type http over TLS.
	TLS bool
	// Method, Path, Host and Status are of type http only. Host "" is the backend's name or
	// address.
	Method, Path, Host string
	Status             []StatusRange
	// Body is a text that the answer must contain, "" for any.
	Body string
	// Script is of type expect only, and has at least one step that receives.
	Script []Step
}

// StatusRange is From to To, both included, within 100 to 599.
type StatusRange struct{ From, To int }

func (r StatusRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// Step of a script sends, or receives until it has seen some bytes. One of the two is not empty.
type Step struct{ Send, Receive []byte }

const (
	minInterval     = 20 * time.Millisecond
	maxHealthJitter = 50 // with more, two checks could follow each other at once
	maxRiseFall     = 1000
	maxBody         = 1024
	maxSteps        = 100

	defaultMethod = "GET"
	defaultPath   = "/"
)

var defaultStatus = StatusRange{200, 399}

func (h *Health) fields() fields {
	return fields{
		{"type", enum(&h.Type, healthTypes, HealthTCP), "What passes: `tcp`, a connection; `tls`, a TLS handshake; `http`, an answer to a request; `expect`, a conversation."},
		{"interval", duration(&h.Interval).min(minInterval).def("2s"), "The time from the start of one check of a backend to the start of the next, at least 20ms."},
		{"fast_interval", duration(&h.FastInterval).min(minInterval),
			"The interval while the state is in doubt: after a failure of a backend that is up, after a pass of one that is down, and until the state is known. If omitted, it is a quarter of `interval`, but at least 100ms (and never more than `interval`)."},
		{"timeout", duration(&h.Timeout).positive().def("1s"), "The time limit for one whole check."},
		{"jitter", percent(&h.Jitter, 0, maxHealthJitter).def("10%"), "Intervals are shortened at random by up to this share, at most 50%, so that the checks of many proxies do not all arrive at once."},
		{"rise", integer(&h.Rise, 1, maxRiseFall).def("2"), "This many passes in a row bring up a backend that was down, 1 to 1000."},
		{"fall", integer(&h.Fall, 1, maxRiseFall).def("3"), "This many failures in a row take it down, 1 to 1000."},
		{"port", integer(&h.Port, 1, 65535), "Check this port instead of the backend's. Not for unix sockets."},
		{"server_name", serverName(&h.ServerName), "The host name to ask for in the handshake, and to verify. If omitted, it is the backend's name; for a backend with an IP address, no name is sent. For `tls`, and for `http` with `tls: true`."},
		{"verify", boolean(&h.Verify, false), "Require a certificate that chains to one of this machine's root certificates and is valid for `server_name` or, if that is omitted, for the backend's name or IP address. For `tls`, and for `http` with `tls: true`."},
		{"tls", boolean(&h.TLS, false), "Send the request over TLS. For `http`."},
		{"method", method(&h.Method), "The method of the request, in upper case. If omitted, `GET`. For `http`."},
		{"path", urlPath(&h.Path), "The path to request, with a query if needed. Redirects are not followed. If omitted, `/`. For `http`."},
		{"host", httpHost(&h.Host), "The Host header of the request: a name or an address, with a port if needed. If omitted, it is the backend's name or IP address as configured, with the port unless that is 80 (443 with `tls: true`). For a unix socket, `localhost`. For `http`."},
		{"status", listOf(&h.Status, status).orOne(), "The status codes that pass: one, a range, or a list of both, as in `[200, \"300-399\"]`. If omitted, `200-399`. For `http`."},
		{"body", text(&h.Body, "a string").max(maxBody).full("write what the answer must contain, or remove it"), "A text of up to 1024 bytes that the answer must contain within its first 64 KiB. For `http`."},
		{"script", listOf(&h.Script, step).most(maxSteps), "What to send and to receive; see below. For `expect`, which requires it."},
	}
}

func step(s *Step) value {
	return either[*Step]{structureOf(s), [2]string{"send", "receive"}, "..."}
}

func (s *Step) fields() fields {
	return fields{
		{"send", payload(&s.Send), "Send these bytes."},
		{"receive", payload(&s.Receive), "Wait until these bytes are among those received since the last `receive`, at most 64 KiB."},
	}
}
