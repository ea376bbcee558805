package proxy

import (
	"net/netip"

	"l4proxy/acl"
	"l4proxy/internal/rawsys"
)

// A verdict is what the checks of a client's address have decided.
type verdict struct {
	denied  bool
	action  acl.Action // what a denied client sees
	reason  Reason
	rule    string // the name of what denied it
	shadow  string // the first rule that would have decided, but only counts
	limited bool   // the client counts for the limits of each client; see overLimit
}

// judge decides about a client's address, and counts what decides: that of its peer or, if the peer
// has sent a PROXY protocol header, the one that the header names.
func (w *worker) judge(l *Listener, client netip.Addr) (v verdict) {
	if w.server.bans != nil {
		if ban := w.server.bans.Find(client, w.loop.Now()); ban != nil {
			w.listenerCounters(l).banned.add(1)
			return verdict{denied: true, action: w.server.bans.ActionOf(ban), reason: ReasonBanned, rule: BanRule}
		}
	}
	if l.ACL != nil {
		if v = w.askACL(l, client); v.denied {
			return v
		}
	}
	var over Reason
	if v.limited, over = w.overLimit(l, client); over != ReasonNone {
		return verdict{denied: true, action: l.OverLimit, reason: over, rule: overRules[over]}
	}
	return v
}

// askACL is the part of judge that the access control list decides.
func (w *worker) askACL(l *Listener, client netip.Addr) (v verdict) {
	counts, now := w.listenerCounters(l), w.loop.Now()
	decision := l.ACL.Decide(client)
	for at := int32(0); l.ACL.Shadows(); {
		shadow, more := l.ACL.NextShadow(client, at, decision.Rule)
		if !more {
			break
		}
		if at = shadow.Rule; v.shadow == "" {
			v.shadow = shadow.Name
		}
		counts.hit(l.ACL, shadow, now)
	}
	counts.hit(l.ACL, decision, now)
	if !decision.Allow {
		v.denied, v.action, v.reason, v.rule = true, decision.Action, ReasonDenied, decision.Name
	}
	return v
}

// deny ends a client that may not connect, by the action of a rule or of a limit; rule is the name
// of what decided. A denied client never takes a slot.
func (w *worker) deny(a arrival, action acl.Action, reason Reason, rule string) {
	denied := Outcome{Side: SideProxy, Reason: reason}
	switch action {
	case acl.Reset:
		rawsys.SetLinger(a.fd, 1, 0)
		w.endArrival(a, denied, rule)
	case acl.Drop, acl.Tarpit:
		w.recordArrival(a, denied, rule)
		w.hold(a.fd, a.listener, action)
	case acl.Message:
		w.refuse(a, a.listener.DenyMessage, denied, rule)
	default:
		w.refuse(a, nil, denied, rule)
	}
}

// denyConn is deny for a client that is a connection already, because bytes of it had to be read
// before its address was known. Nothing may be dialed for it.
func (w *worker) denyConn(c *conn, action acl.Action, reason Reason, rule string) {
	c.rule = rule
	c.flags &^= flagShadow
	denied := Outcome{Side: SideProxy, Reason: reason}
	switch action {
	case acl.Reset:
		c.flags |= flagResetOut
		w.end(c, denied)
	case acl.Drop:
		c.flags |= flagDrop
		w.end(c, denied)
	case acl.Tarpit:
		c.flags |= flagTarpit
		w.end(c, denied)
	case acl.Message:
		w.turnAway(c, c.listener.DenyMessage, denied)
	default:
		w.turnAway(c, nil, denied)
	}
}

// noteShadow keeps the name of a rule that would have decided about the client, for its record.
func (c *conn) noteShadow(rule string) {
	if rule != "" {
		c.rule = rule
		c.flags |= flagShadow
	}
}
