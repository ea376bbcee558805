package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"l4proxy/acl"
	"l4proxy/admin"
	"l4proxy/balancer"
	"l4proxy/clienthello"
	"l4proxy/control"
	"l4proxy/proxy"
	"l4proxy/route"
)

// explained is how many backends an explanation lists: those that a client would try, and the
// others.
const explained = 100

// adminExplain says what would happen to a client.
func (p *process) adminExplain(ctx context.Context, q admin.ExplainQuery) (*admin.Explain, error) {
	l, err := chooseListener(p.live.Listeners(), q.Listener)
	if err != nil {
		return nil, err
	}
	if !q.From.IsValid() && !anyUnix(l.Listener) {
		return nil, admin.Invalid("from is missing: clients of listener "+l.Name+" have an address", "name one, such as 10.1.2.3")
	}
	if q.From.IsValid() && !anyTCP(l.Listener) {
		return nil, admin.Invalid("clients of listener "+l.Name+" have no address: it has a unix socket", "leave out from")
	}
	hello, err := helloOf(&q)
	if err != nil {
		return nil, err
	}
	e, ok := p.server.Explain(ctx, l.Listener, q.From, hello, explained)
	if !ok {
		return nil, admin.Conflict("an event loop does not answer", "see /healthz")
	}
	return withGeo(shownExplanation(e, hello, p.live.Now()), p.currentConfig().Geo, e.Client), nil
}

// chooseListener finds a listener; the only one need not be named.
func chooseListener(all []control.ListenerInfo, name string) (control.ListenerInfo, error) {
	names := make([]string, len(all))
	for i, l := range all {
		if names[i] = l.Name; l.Name == name || name == "" && len(all) == 1 {
			return l, nil
		}
	}
	if name == "" {
		return control.ListenerInfo{}, admin.Invalid("listener is missing", thereAre(names))
	}
	return control.ListenerInfo{}, unknown("listener", name, names)
}

func anyUnix(l *proxy.Listener) bool {
	for _, b := range l.Binds {
		if b.IsUnix() {
			return true
		}
	}
	return false
}

func anyTCP(l *proxy.Listener) bool {
	for _, b := range l.Binds {
		if !b.IsUnix() {
			return true
		}
	}
	return false
}

// shownExplanation is an explanation for the API.
func shownExplanation(e *proxy.Explanation, hello *clienthello.Hello, now int64) *admin.Explain {
	shown := &admin.Explain{
		Listener: e.Listener.Name,
		Client:   "unix",
		Outcome:  e.Fate.String(),
		ACL: admin.ExplainACL{
			Allowed: e.ACL.Allow,
			Default: e.ACL.Rule == 0,
		},
		ProxyHeader: e.Header,
		ReadsHello:  e.Reads,
		Backends:    []admin.ExplainBackend{},
		States:      make(map[string]int),
		Limits:      explainLimits(e),
	}
	if e.Client.IsValid() {
		shown.Client = e.Client.String()
	}
	if e.Reason != proxy.ReasonNone {
		shown.Reason = e.Reason.String()
	}
	if e.ACL.Rule > 0 {
		shown.ACL.Rule = e.ACL.Name
		if e.ACL.Prefix.IsValid() {
			shown.ACL.Prefix = e.ACL.Prefix.String()
		}
		if e.ACL.Set != nil {
			shown.ACL.File = e.ACL.Set.Name
		}
	}
	for _, s := range e.Shadows {
		shown.ACL.Shadow = append(shown.ACL.Shadow, s.Name)
	}
	if !e.ACL.Allow {
		shown.ACL.With = e.ACL.Action.String()
	}
	if e.Ban != nil {
		shown.Ban = shownBan(e.Ban, e.BanAction, e.BanLeft, e.BanAge, time.Now())
	}
	if e.Route != route.None {
		shown.Route = &admin.ExplainRoute{Index: e.Route, Clients: e.Listener.Routes.Routes()[e.Route].String()}
	}
	if e.Pool != nil {
		showPool(shown, e, now)
	}
	shown.Text = explainText(e, shown, hello)
	return shown
}

// showPool adds the pool with its backends.
func showPool(shown *admin.Explain, e *proxy.Explanation, now int64) {
	v := e.Preview
	shown.Pool, shown.Policy, shown.Random, shown.Attempts = e.Pool.Name, v.Policy, v.Random, e.Pool.Attempts
	for i := range v.Order {
		shown.Backends = append(shown.Backends, explainBackend(&v.Order[i], i+1, v, now))
	}
	for i := range v.Rest {
		shown.Backends = append(shown.Backends, explainBackend(&v.Rest[i], 0, v, now))
	}
	shown.Omitted = -len(shown.Backends)
	for c, n := range v.Conditions {
		if n > 0 {
			shown.States[balancer.Condition(c).String()] = n
			shown.Omitted += n
		}
	}
}

func explainBackend(c *balancer.Candidate, turn int, v *balancer.Preview, now int64) admin.ExplainBackend {
	b := admin.ExplainBackend{
		Address: c.Address, Turn: turn, State: c.Condition.String(), Connections: c.Active, Weight: c.Weight,
		MaxConnections: int(c.MaxConnections), Priority: int(c.Priority), Share: c.Share,
		Reason: whyTurn(c, turn, v, now),
	}
	if c.Scored {
		b.Score = &c.Score
	}
	return b
}

// byPolicy is what each policy looks at.
var byPolicy = map[string]string{
	"first":       "first in the order of the configuration",
	"least_conn":  "fewest connections for its weight",
	"maglev":      "by the hash of the client's address",
	"p2c":         "the less loaded one of two drawn by weight",
	"random":      "drawn by weight",
	"round_robin": "its turn comes first",
	"source_hash": "by the hash of the client's address",
}

// whyTurn is why a backend has its turn, or none.
func whyTurn(c *balancer.Candidate, turn int, v *balancer.Preview, now int64) string {
	in := ago(time.Duration(c.Until - now))
	var why string
	switch c.Way {
	case balancer.ByPolicy:
		why = byPolicy[v.Policy]
		if first := v.Order[0]; c.Priority > first.Priority && first.Way == balancer.ByPolicy {
			why = "backup: tried when all of a better priority have failed"
		} else if c.Far && !first.Far {
			why = "in another zone: tried when all in this zone have failed"
		}
		if c.Share < 1 {
			why += fmt.Sprintf("; slow start at %.0f%% of its weight", 100*c.Share)
		}
	case balancer.ByProbe:
		why = "its backoff is over, and this client would find out whether it is back"
	case balancer.ByTrial:
		why = "its clients get no answer, and this one would decide whether it is ejected"
	case balancer.LastResort:
		why = fmt.Sprintf("last resort: %s for %s more, tried because no other is left", c.Condition, in)
	case balancer.NoWay:
		return whyNot(c, in)
	}
	return why
}

// whyNot is why a backend would not be tried. in is how long its ejection or backoff still lasts.
func whyNot(c *balancer.Candidate, in string) string {
	switch c.Condition {
	case balancer.IsDown:
		if c.Backend.Admin().String() == "down" {
			return "set down by an operator"
		}
		return "down by its health checks"
	case balancer.IsDrained:
		return "drained by an operator"
	case balancer.IsEjected:
		return "ejected for " + in + " more: too many of its connections failed in a row"
	case balancer.IsBackedOff:
		if c.Probing {
			return "in backoff: another client is trying it"
		}
		return "in backoff for " + in + " more: its last dial failed"
	case balancer.IsFull:
		return fmt.Sprintf("full: it has %d of at most %d connections", c.Active, c.MaxConnections)
	case balancer.IsUp, balancer.IsUnknown:
		return "not needed: clients wait for a backend of a better priority"
	}
	return ""
}

// explainLimits are the limits that apply to a client, with their room.
func explainLimits(e *proxy.Explanation) []admin.ExplainLimit {
	room := func(u proxy.Usage) bool { return u.Limit == 0 || u.Used < u.Limit }
	limits := []admin.ExplainLimit{{Name: "process", Used: e.Process.Used, Limit: e.Process.Limit, Room: room(e.Process)}}
	if e.Shared.Limit != e.Process.Limit {
		limits = append(limits, admin.ExplainLimit{Name: "shared", Used: e.Shared.Used, Limit: e.Shared.Limit, Room: room(e.Shared)})
	}
	limits = append(limits, admin.ExplainLimit{Name: "listener", Used: e.Own.Used, Limit: e.Own.Limit, Room: room(e.Own)})
	limits = append(limits, clientLimits(e.PerClient)...)
	if e.Pool == nil {
		return limits
	}
	v := e.Preview
	if v.MaxConnections > 0 {
		limits = append(limits, admin.ExplainLimit{Name: "pool", Used: v.Connections, Limit: v.MaxConnections, Room: v.Connections < v.MaxConnections})
	}
	backends := admin.ExplainLimit{Name: "backends", Used: v.Used, Limit: v.Limit, Room: v.Verdict == balancer.Picked}
	limits = append(limits, backends)
	if e.Pool.QueueTimeout > 0 {
		limits = append(limits, admin.ExplainLimit{Name: "queue", Used: int64(v.Waiting), Limit: int64(v.Queue), Room: v.Waiting < v.Queue})
	}
	return limits
}

// explainText says all of it in words, a step a line.
func explainText(e *proxy.Explanation, shown *admin.Explain, hello *clienthello.Hello) (text []string) {
	add := func(format string, values ...any) { text = append(text, fmt.Sprintf(format, values...)) }
	add("%s", doorText(e))
	if e.Header {
		add("PROXY protocol: a peer at this address must send a header, and the address in it is the client's; what follows is for a header without an address")
	}
	if e.Ban != nil {
		add("%s", banText(e))
	}
	for _, s := range e.Shadows {
		add("shadow: %s", shadowText(&s))
	}
	add("%s", aclText(e))
	if e.PerClient != nil {
		add("%s", clientText(e.PerClient))
	}
	add("%s", limitsText(e, shown.Limits))
	if limits := bandwidthText(&e.Listener.Bandwidth, e.Client); limits != "" {
		add("%s", limits)
	}
	if line := routeText(e, shown, hello); line != "" {
		add("%s", line)
	}
	if e.Pool != nil {
		add("%s", poolText(e, shown))
	}
	add("%s", outcomeText(e, shown, hello))
	return text
}

// doorText says whether the listener accepts clients.
func doorText(e *proxy.Explanation) string {
	d, name := &e.Door, e.Listener.Name
	closed := d.Closed + d.Drained + d.Unlistened
	switch {
	case d.Sockets == d.Closed:
		return fmt.Sprintf("listener %s: closed, the proxy is shutting down", name)
	case d.Drained > 0 && e.Client.IsValid():
		return fmt.Sprintf("listener %s: closed, an operator has drained it", name)
	case d.Drained > 0:
		return fmt.Sprintf("listener %s: drained by an operator, its unix socket turns clients away", name)
	case d.Sockets == closed:
		return fmt.Sprintf("listener %s: closed, no backend of its pool can serve (when_no_backend: unlisten)", name)
	case d.Sockets == closed+d.Paused:
		return fmt.Sprintf("listener %s: paused, clients wait in the kernel's queue", name)
	case d.Parked > 0:
		return fmt.Sprintf("listener %s: open, %s for a free connection slot", name, waiting(d.Parked))
	}
	return fmt.Sprintf("listener %s: open", name)
}

func aclText(e *proxy.Explanation) string {
	client := "a client of a unix socket"
	if e.Client.IsValid() {
		client = e.Client.String()
	}
	verb := "denied"
	if e.ACL.Allow {
		verb = "allowed"
	}
	switch {
	case e.Listener.ACL == nil:
		return "acl: none, all clients are allowed"
	case e.ACL.Rule == 0:
		return fmt.Sprintf("acl: no rule matches %s, by default it is %s", client, verb)
	case e.ACL.By != nil:
		return fmt.Sprintf("acl: %s by rule %s: %s is in %s", verb, e.ACL.Name, client, e.ACL.By.Describe(e.Client))
	case e.ACL.Set != nil:
		return fmt.Sprintf("acl: %s by rule %s: %s is in %s, from the list %s", verb, e.ACL.Name, client, e.ACL.Prefix, e.ACL.Set.Name)
	}
	return fmt.Sprintf("acl: %s by rule %s: %s is in %s", verb, e.ACL.Name, client, e.ACL.Prefix)
}

// shadowText is what a shadow rule would do.
func shadowText(d *acl.Decision) string {
	if d.Allow {
		return fmt.Sprintf("rule %s only counts, and would allow it", d.Name)
	}
	return fmt.Sprintf("rule %s only counts, and would deny it: %s", d.Name, denied[d.Action])
}

// limitNames are the limits in words.
var limitNames = map[string]string{
	"process": "the process", "shared": "shared by the listeners", "listener": "the listener",
}

func limitsText(e *proxy.Explanation, limits []admin.ExplainLimit) string {
	var parts []string
	for _, l := range limits {
		name, ok := limitNames[l.Name]
		if !ok {
			continue
		}
		part := fmt.Sprintf("%s %d", name, l.Used)
		if l.Limit > 0 {
			part += fmt.Sprintf(" of %d", l.Limit)
		}
		parts = append(parts, part)
	}
	text := "connections: " + strings.Join(parts, ", ")
	switch {
	case e.Short:
		return text + ": no descriptor is left"
	case e.Room == 0:
		return text + ": no slot is free"
	}
	return text
}

func poolText(e *proxy.Explanation, shown *admin.Explain) string {
	v := e.Preview
	text := fmt.Sprintf("pool %s, policy %s: ", e.Pool.Name, v.Policy)
	if v.Panicking {
		text += "panic mode ignores health and ejections; "
	}
	if len(v.Order) == 0 {
		why := states(shown.States)
		if v.MaxConnections > 0 && v.Connections >= v.MaxConnections {
			why = "the pool is full"
		}
		text += "no backend can be tried: " + why
	} else {
		names := make([]string, 0, 3)
		for _, c := range v.Order[:min(e.Pool.Attempts, len(v.Order))] {
			names = append(names, c.Address)
		}
		text += strings.Join(names[:min(5, len(names))], ", then ")
		if len(names) > 5 {
			text += ", ..."
		}
		if v.Random {
			text += " (one possible order: the policy draws)"
		}
		text += fmt.Sprintf("; at most %s for a client", count(e.Pool.Attempts, "dial"))
	}
	if v.MaxConnections > 0 {
		text += fmt.Sprintf("; %d of %d connections", v.Connections, v.MaxConnections)
	}
	if e.Pool.QueueTimeout > 0 {
		text += fmt.Sprintf("; queue %d of %d", v.Waiting, v.Queue)
	}
	return text
}

// states counts backends, the order is that of balancer.Condition.
func states(counts map[string]int) string {
	var parts []string
	for c := balancer.IsDown; c <= balancer.IsUnknown; c++ {
		if n := counts[c.String()]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
		}
	}
	if len(parts) == 0 {
		return "the pool is empty"
	}
	return strings.Join(parts, ", ")
}

// unserved is what a client gets that no backend can serve.
var unserved = map[proxy.NoBackend]string{
	proxy.CloseClient: "the connection is closed", proxy.ResetClient: "the connection is reset",
	proxy.MessageClient: "it gets the no_backend_message, and the connection is closed",
	proxy.QueueClient:   "the connection is closed",
}

var denied = map[acl.Action]string{
	acl.Message: "it gets the deny_message, and the connection is closed", acl.Close: "the connection is closed",
	acl.Reset:  "the connection is reset",
	acl.Drop:   "it sees nothing: the connection is forgotten without a FIN or a reset",
	acl.Tarpit: "it sees nothing: the connection is held in the tarpit, and then reset",
}

func outcomeText(e *proxy.Explanation, shown *admin.Explain, hello *clienthello.Hello) string {
	switch e.Fate {
	case proxy.FateServed:
		return "outcome: served by " + e.Preview.Order[0].Address + " if it answers"
	case proxy.FateQueued:
		return fmt.Sprintf("outcome: queued for %s at most, until a backend has room", e.Pool.QueueTimeout)
	case proxy.FateWaits:
		return "outcome: waits in the kernel's queue until it can be accepted"
	case proxy.FateDenied:
		switch {
		case e.Ban != nil:
			return "outcome: denied: " + denied[e.BanAction]
		case e.ACL.Allow:
			return "outcome: denied (" + shown.Reason + "): " + denied[e.Listener.OverLimit]
		}
		return "outcome: denied: " + denied[e.ACL.Action]
	case proxy.FateRefused:
	}
	switch {
	case e.Reason == proxy.ReasonDrained && !e.Client.IsValid() && e.Door.Sockets > e.Door.Closed:
		return "outcome: refused (drained): the connection is closed"
	case e.Reason == proxy.ReasonDrained, e.Door.Unlistened > 0:
		return "outcome: connection refused by the kernel"
	}
	if e.Reason == proxy.ReasonNoRoute {
		return fmt.Sprintf("outcome: refused (%s): %s", shown.Reason, unrouted(hello))
	}
	return fmt.Sprintf("outcome: refused (%s): %s", shown.Reason, unserved[e.Listener.NoBackend])
}
