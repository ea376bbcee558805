package chaos

import (
	"fmt"

	"l4proxy/proxy"
)

// fault is something that must not happen: its kind, for counting, and a description.
type fault struct{ kind, text string }

// wanted is what a side may see of the other's stream.
type wanted struct {
	least, most int64 // bytes
	ends        map[end]bool
	fin         bool // the end of the stream only after all bytes
	late        bool // the end of the stream only with a reset after it
}

func ends(all ...end) map[end]bool {
	m := map[end]bool{}
	for _, e := range all {
		m[e] = true
	}
	return m
}

// want derives from the script what a side may see. To prove that a direct connection gives just
// that, each script is also played without a proxy and judged by the same rules.
func (s *script) want(who int, families [2]family) wanted {
	other := &s.parts[1-who]
	mine, theirs, total := s.parts[who].ending, other.ending, other.total()
	w := wanted{most: total, fin: true}
	if s.keepsAll(1-who, families) {
		w.least = total
	}
	switch {
	case mine == resetLate: // it leaves when it has received what it waits for
		w.least, w.ends = s.parts[who].await, ends(endFIN, endLeft)
	case mine.aborts():
		w.least, w.ends = 0, ends(endFIN, endReset, endLeft, endNone)
		w.fin = !theirs.aborts()
	case mine == closeDone:
		w.least, w.ends = total, ends(endFIN, endLeft)
	case theirs == closeEarly && s.parts[who].total() == 0: // nothing can meet the closed socket
		w.least, w.ends = total, ends(endFIN)
		return w
	case theirs == watch:
		w.ends = ends(endReset)
	case !theirs.aborts():
		w.least, w.ends = total, ends(endFIN)
	case theirs == resetLate:
		w.late = true
		if w.ends = ends(endFIN, endReset); s.parts[who].has(opAwaitEnd) && s.parts[1-who].await == s.parts[who].total() {
			w.least, w.ends = total, ends(endFIN)
		}
	case theirs == closeEarly:
		w.ends = ends(endFIN, endReset)
	default:
		w.ends = ends(endReset)
	}
	if theirs.aborts() && families[who] == local {
		w.ends[endFIN], w.fin = true, false // a unix socket has no reset to pass on
	}
	return w
}

// A socket with default buffers sends that much at once, before its peer has acknowledged anything.
const (
	onceBytes    = 16 << 10
	onceSegments = 8
)

// keepsAll reports whether no byte of a side can be lost when it aborts. A reset does not discard
// bytes that a socket has received, but it discards bytes that have not been sent yet.
func (s *script) keepsAll(who int, families [2]family) bool {
	if s.parts[client].buffer > 0 || s.parts[server].buffer > 0 {
		return false
	}
	if families[who] == local {
		return true
	}
	if who == server && s.parts[who].ending == resetNow && !s.parts[who].has(opAwait) {
		// A connect of io_uring that had to wait calls connect(2) again. If the backend has reset
		// by then, that discards what it had sent (inet_stream_connect in the kernel's
		// net/ipv4/af_inet.c): seen once in 400.
		return false
	}
	segments := int64(0)
	for _, step := range s.parts[who].steps {
		switch step.op {
		case opSend:
			segments += (step.n + int64(step.size) - 1) / int64(step.size)
		case opUrgent:
			segments++
		}
	}
	return segments <= onceSegments && s.parts[who].total() <= onceBytes
}

// mayBeAbsent reports whether the client may have left, without sending a byte, before the proxy
// accepted it.
func (s *script) mayBeAbsent() bool {
	c := &s.parts[client]
	return c.total() == 0 && (c.ending == resetNow || c.ending == closeEarly) && !c.has(opAwait)
}

// judge returns the faults in what both sides saw.
func (s *script) judge(p *played, families [2]family) (faults []fault) {
	add := func(kind, format string, args ...any) {
		faults = append(faults, fault{kind, fmt.Sprintf(format, args...)})
	}
	if p.hung {
		add("hang", "nothing moved any more")
		return faults
	}
	for who, saw := range p.sides {
		if saw.absent {
			if who == client || !s.mayBeAbsent() {
				add("absent", "the %s never saw the connection", sideNames[who])
			}
			continue
		}
		w := s.want(who, families)
		in := saw.in
		if in == endFIN && saw.out == endReset && w.ends[endReset] {
			in = endReset // the kernel reports a reset once, and the writer got it
		}
		switch {
		case in == endFailed || saw.out == endFailed:
			add("wrong bytes", "the %s: %s", sideNames[who], saw.failure)
		case in == endFIN && w.fin && saw.received != w.most:
			add("end too early", "the %s received %d bytes and the end of the stream, want %d", sideNames[who], saw.received, w.most)
		case !w.ends[in]:
			add("wrong end", "the %s saw %v", sideNames[who], in)
		case saw.received < w.least || saw.received > w.most:
			add("lost bytes", "the %s received %d bytes, want %d to %d", sideNames[who], saw.received, w.least, w.most)
		case w.late && in == endFIN && !saw.late:
			add("no reset", "the %s saw no reset after the end of the stream", sideNames[who])
		}
		if total := s.parts[who].total(); s.allSent(who) && saw.sent != total {
			add("not sent", "the %s could send %d of %d bytes, and saw %v", sideNames[who], saw.sent, total, saw.out)
		}
	}
	return faults
}

// allSent reports whether nothing can keep a side from sending all.
func (s *script) allSent(who int) bool {
	return !s.parts[0].ending.aborts() && !s.parts[1].ending.aborts() || s.parts[who].ending == resetLate
}

// judgeRecord returns the faults in the record of a connection.
func (s *script) judgeRecord(p *played) (faults []fault) {
	add := func(format string, args ...any) {
		faults = append(faults, fault{"record", fmt.Sprintf(format, args...)})
	}
	if p.record == nil {
		add("the connection left no record")
		return faults
	}
	if p.more > 0 {
		add("the connection left %d more records", p.more)
	}
	r := p.record
	for who, n := range [2]uint64{r.BytesIn, r.BytesOut} {
		sent, received := p.sides[who].sent, p.sides[1-who].received
		if int64(n) < received || int64(n) > sent {
			add("%d bytes of the %s in the record; it has sent %d, and the other side received %d", n, sideNames[who], sent, received)
		}
	}
	if !s.outcomes()[proxy.Outcome{Side: r.Side, Reason: r.Reason}] {
		add("the record says %v by the %v", r.Reason, r.Side)
	}
	return faults
}

// outcomes are the outcomes that a record may have.
func (s *script) outcomes() map[proxy.Outcome]bool {
	m := map[proxy.Outcome]bool{}
	for who := range 2 {
		mine, theirs := s.parts[who].ending, s.parts[1-who].ending
		by := proxy.SideClient + proxy.Side(who)
		closed, reset := proxy.Outcome{Side: by, Reason: proxy.ReasonClosed}, proxy.Outcome{Side: by, Reason: proxy.ReasonReset}
		switch mine {
		case finFirst:
			m[closed] = m[closed] || theirs <= closeEarly
		case closeDone:
			m[closed] = true
		case closeEarly:
			m[closed], m[reset] = true, s.parts[1-who].total() > 0
		case closeUnread, resetNow, resetLate:
			m[reset] = true
		}
	}
	return m
}
