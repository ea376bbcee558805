package proxy

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
)

// Moved is a connection on its way from one Server to another, usually in another process of the
// same machine. It is plain values; times are of CLOCK_MONOTONIC, in nanoseconds. Its JSON form is
// part of the hand-over format: fields are added, never renamed, and unknown ones are ignored.
// Descriptors and bytes travel beside the JSON.
//
// Names stand for everything that another version of the program may number differently.
type Moved struct {
	// Client and Backend are the descriptors of the two sockets; -1 means none. They belong to
	// the process that holds the value.
	Client  int `json:"-"`
	Backend int `json:"-"`
	// Pending are the bytes that were read from an end (0 client, 1 backend) and are not yet
	// written to the other one.
	Pending [2][]byte `json:"-"`

	Listener string         `json:"listener"`
	Pool     string         `json:"pool,omitempty"`
	Peer     netip.AddrPort `json:"peer,omitzero"` // the client's address, or as its PROXY protocol header says; invalid for a unix socket
	Accepted int64          `json:"accepted"`

	// Server is the backend of a connection that has been dialled.
	Server     MovedBackend `json:"server,omitzero"`
	Dialled    int64        `json:"dialled,omitempty"`
	Connected  int64        `json:"connected,omitempty"`
	LastActive int64        `json:"last_active,omitempty"` // when the last byte moved
	Failed     int64        `json:"failed,omitempty"`      // when an end failed whose last bytes are still being delivered
	Bytes      [2]uint64    `json:"bytes,omitzero"`        // read from an end and written to the other one
	Taken      uint64       `json:"taken,omitempty"`       // see worker.delivering
	Ended      [2]string    `json:"ended,omitzero"`        // how the stream from an end has ended; see endNames
	Flags      []string     `json:"flags,omitempty"`       // see movedFlags
	Outcome    MovedOutcome `json:"outcome,omitzero"`

	Attempts    int            `json:"attempts,omitempty"`     // dials
	Tried       []MovedBackend `json:"tried,omitempty"`        // not to be dialled again for this client
	FailedDials []MovedDial    `json:"failed_dials,omitempty"` // for the log
	WaitUntil   int64          `json:"wait_until,omitempty"`   // the end of the wait in the pool's queue
	// Parked clients were accepted beyond a limit, and hold no slot. With Header, they are known
	// only by the PROXY protocol header that they send.
	Parked bool `json:"parked,omitempty"`
	Header bool `json:"header,omitempty"`
	// Hello is what the client has sent before it was connected, nil if nothing was read before.
	Hello *MovedHello `json:"hello,omitempty"`
	// Shadow is the first shadow rule that it has met.
	Shadow string `json:"shadow,omitempty"`
	// Trace is that of its steps if the old process traced it; see Step.
	Trace uint64 `json:"trace,omitempty"`

	// What a listener that is not in the configuration of the other process leaves behind for its
	// connections.
	Idle       time.Duration `json:"idle,omitempty"`
	HalfClose  time.Duration `json:"half_close,omitempty"`
	CloseOnFIN bool          `json:"close_on_fin,omitempty"`
}

// MovedBackend identifies a backend of a pool.
type MovedBackend struct {
	Address  string `json:"address"`            // as configured
	Resolved string `json:"resolved,omitempty"` // as dialled
}

// MovedOutcome is an [Outcome] by names.
type MovedOutcome struct {
	Side   string     `json:"side"`
	Reason string     `json:"reason"`
	Errno  unix.Errno `json:"errno,omitempty"`
}

// MovedDial is a [FailedDial] by names.
type MovedDial struct {
	MovedBackend
	Reason string `json:"reason"`
}

// movedFlags are the flags of a connection that move. The others follow from what this process
// finds.
var movedFlags = []struct {
	name string
	flag connFlags
}{
	{"counted", flagCounted},
	{"kept_alive", flagKeptAlive},
	{"patient", flagPatient},
	{"patient_backend", flagPatientBackend},
	{"reset_out", flagResetOut},
	{"answered", flagAnswered},
	{"queued", flagQueued},
	{"client_ended", flagClientEnded},
	{"blamed", flagBlamed},
	{"asking", flagAsking},
	{"discarding", flagDiscarding},
}

// endNames are the words for flowEnd in Moved.Ended.
var endNames = [...]string{flowOpen: "", flowFIN: "fin", flowReset: "reset", flowDead: "dead"}

// pack writes a connection down. Its descriptors and bytes are added by the caller.
func (c *conn) pack() Moved {
	m := Moved{
		Client: -1, Backend: -1,
		Listener: c.listener.Name, Peer: c.client, Hello: c.hello.pack(),
		Accepted: c.accepted, Dialled: c.dialled, Connected: c.connected, LastActive: c.lastActive, Failed: c.failed,
		Taken: c.taken, Attempts: int(c.attempts),
		Outcome: MovedOutcome{Side: c.outcome.Side.String(), Reason: c.outcome.Reason.String(), Errno: c.outcome.Errno},
		Idle:    c.listener.Idle, HalfClose: c.listener.HalfClose, CloseOnFIN: c.listener.CloseOnFIN,
	}
	if c.pool != nil {
		m.Pool = c.pool.Name
	}
	if c.flags&flagShadow != 0 {
		m.Shadow = c.rule
	}
	if c.flags&flagBackend != 0 {
		m.Server = movedBackend(c.backend)
	}
	for e, f := range c.flow {
		m.Bytes[e], m.Ended[e] = f.bytes, endNames[f.ended]
	}
	for _, f := range movedFlags {
		if c.flags&f.flag != 0 {
			m.Flags = append(m.Flags, f.name)
		}
	}
	if s := c.search; s != nil {
		m.WaitUntil = s.waitUntil
		for _, b := range s.tried {
			m.Tried = append(m.Tried, movedBackend(b))
		}
		for _, f := range s.failed {
			m.FailedDials = append(m.FailedDials, MovedDial{movedBackend(f.Backend), f.Reason.String()})
		}
	}
	return m
}

func movedBackend(b *backend.Backend) MovedBackend {
	return MovedBackend{Address: b.Address, Resolved: b.Sockaddr.String()}
}

// unpack fills a connection from a value that another version of the program may have written:
// whatever it holds, the connection can be used. The caller sets what belongs to this process: the
// listener, the pool, the backend, and the flags of sockets and slots.
func (c *conn) unpack(m *Moved, now int64) {
	c.client = m.Peer
	c.accepted, c.lastActive = pastTime(m.Accepted, now), pastTime(m.LastActive, now)
	c.taken, c.attempts = m.Taken, uint8(min(max(m.Attempts, 0), 255))
	for _, f := range movedFlags {
		if slices.Contains(m.Flags, f.name) {
			c.flags |= f.flag
		}
	}
	c.noteShadow(m.Shadow)
	c.outcome = m.Outcome.outcome()
	c.hello = m.Hello.unpack(len(m.Pending[clientEnd]))
	if m.Backend < 0 { // it looks for a backend
		c.flags &= flagQueued | flagClientEnded | flagCounted | flagShadow
		return
	}
	c.dialled, c.connected = pastTime(m.Dialled, now), pastTime(m.Connected, now)
	if c.flags&flagDiscarding != 0 {
		c.flags |= flagWatched // see endRest
	}
	c.flags |= flagPending // the next look at the peers finds out
	for e := range c.flow {
		f := &c.flow[e]
		f.bytes = m.Bytes[e]
		f.ended = flowEnd(max(slices.Index(endNames[:], m.Ended[e]), 0))
		if f.ended == flowOpen {
			continue
		}
		c.flags |= flagHalfClosed
		if c.outcome.Reason == ReasonNone {
			c.outcome = Outcome{Side: sideOf(e), Reason: ReasonClosed}
		}
	}
	if c.flags&flagResetOut != 0 {
		c.failed = pastTime(m.Failed, now)
		if c.outcome.Reason == ReasonNone {
			c.outcome = Outcome{Side: SideProxy, Reason: ReasonError}
		}
	}
}

// pastTime is a time of another process that cannot be later than now. 0 is an unknown one.
func pastTime(at, now int64) int64 {
	if at <= 0 || at > now {
		return now
	}
	return at
}

func (m MovedOutcome) outcome() Outcome {
	side := Side(max(slices.Index(sideNames[:], m.Side), 0))
	return Outcome{Side: side, Reason: reasonNamed(m.Reason), Errno: m.Errno}
}

// reasonNamed returns the reason of a name, ReasonError for one that this version does not have.
func reasonNamed(name string) Reason {
	switch i := slices.Index(reasonNames[:], name); {
	case i >= 0:
		return Reason(i)
	case name == "":
		return ReasonNone
	}
	return ReasonError
}
