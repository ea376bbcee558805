package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// healthKeys are the keys that belong to some types of checks only.
var healthKeys = map[string][]string{
	"server_name": {"tls", "http"}, "verify": {"tls", "http"},
	"tls": {"http"}, "method": {"http"}, "path": {"http"}, "host": {"http"}, "status": {"http"}, "body": {"http"},
	"script": {"expect"},
}

// health decodes how backends are checked.
func (d *decoder) health(n *node, backends []Backend) *Health {
	h := &Health{
		Type: defaultHealthType, Interval: defaultInterval, Timeout: defaultHealthTimeout,
		Jitter: defaultHealthJitter, Rise: defaultRise, Fall: defaultFall,
	}
	if n.kind == kindString && healthTypes.check(n.text) == nil {
		d.expected(n, "a mapping", "write {type: "+n.text+"}")
		return h
	}
	f, ok := d.object(n, n, healthSection)
	if !ok {
		return h
	}
	typeKnown := d.enum(f["type"], healthTypes, &h.Type)
	d.healthTimes(f, h)
	d.percent(f["jitter"], 0, maxHealthJitter, &h.Jitter)
	d.integer(f["rise"], 1, maxRiseFall, false, &h.Rise)
	d.integer(f["fall"], 1, maxRiseFall, false, &h.Fall)
	port := 0
	d.integer(f["port"], 1, 65535, false, &port)
	h.Port = uint16(port)
	if f["port"] != nil {
		d.portOfUnix(n.find("port"), backends)
	}
	if typeKnown {
		d.otherTypes(n, f, h.Type)
	}
	d.healthTLS(n, f, h, backends)
	if h.Type == "http" {
		h.Method, h.Path = defaultMethod, defaultPath
		h.Status = []StatusRange{{defaultStatusFrom, defaultStatusTo}}
	}
	d.healthHTTP(f, h)
	switch script := f["script"]; {
	case script != nil:
		h.Script = d.script(script)
	case h.Type == "expect":
		d.faultf(f["type"], `write script: [{send: "PING\r\n"}, {receive: "+PONG"}]`, "type expect needs a script")
	}
	return h
}

// healthTimes decodes the times of a check.
func (d *decoder) healthTimes(f fields, h *Health) {
	regular := d.interval(f["interval"], &h.Interval)
	h.FastInterval = min(max(h.Interval/4, minDefaultFast), h.Interval)
	fast := d.interval(f["fast_interval"], &h.FastInterval)
	if regular && fast && h.FastInterval > h.Interval {
		d.faultf(f["fast_interval"], "write a shorter one", "health.fast_interval is longer than health.interval, which is %v", h.Interval)
	}
	d.duration(f["timeout"], false, &h.Timeout)
}

// interval is duration for the time between two checks.
func (d *decoder) interval(n *node, dst *time.Duration) bool {
	v := *dst
	if n == nil || !d.duration(n, false, &v) {
		return n == nil
	}
	if v < minInterval {
		d.faultf(n, fmt.Sprintf("write \"%v\" or more", minInterval), "shorter than %v: %v", minInterval, v)
		return false
	}
	*dst = v
	return true
}

// portOfUnix refuses a port, at the given place, for backends that have none.
func (d *decoder) portOfUnix(at *node, backends []Backend) {
	for i := range backends {
		if backends[i].Network == "unix" {
			d.faultf(at, "remove it, or put that backend into a pool of its own", "health.port is not for a unix socket, and the backend %s is one", backends[i].Address)
			return
		}
	}
}

// otherTypes refuses keys of the mapping n that belong to other types.
func (d *decoder) otherTypes(n *node, f fields, typ string) {
	for _, k := range healthSection.keys {
		types := healthKeys[k.name]
		if f[k.name] == nil || types == nil || slices.Contains(types, typ) {
			continue
		}
		d.faultf(n.find(k.name), "remove it, or write type: "+oneOf(types), "health.%s is for the type %s, not %s", k.name, oneOf(types), typ)
	}
}

// healthTLS decodes the keys of a handshake.
func (d *decoder) healthTLS(n *node, f fields, h *Health, backends []Backend) {
	tlsKnown := d.boolean(f["tls"], &h.TLS)
	d.boolean(f["verify"], &h.Verify)
	overTLS := h.Type == "tls" || h.Type == "http" && h.TLS
	if name := f["server_name"]; name != nil {
		if text, ok := d.text(name, "a host name"); ok {
			h.ServerName = text
			d.serverName(name, text, h.Verify)
		}
	} else if h.Verify && overTLS {
		d.verifyNameless(n.find("verify"), backends)
	}
	if h.Type != "http" || h.TLS || !tlsKnown {
		return
	}
	for _, key := range []string{"server_name", "verify"} {
		if f[key] != nil {
			d.faultf(n.find(key), "write tls: true too, or remove it", "health.%s has no effect on http without TLS", key)
		}
	}
}

// verifyNameless requires server_name with verify if a backend has neither a
// name nor an IP address that its certificate could match.
func (d *decoder) verifyNameless(at *node, backends []Backend) {
	for i := range backends {
		if b := &backends[i]; b.Network == "unix" {
			d.faultf(at, "write server_name: NAME too", "health.verify needs health.server_name: the backend %s has no name or IP address that a certificate could match", b.Address)
			return
		}
	}
}

// serverName checks a name to ask for. An IP address is never asked for (RFC
// 6066 section 3), but a certificate may be for one.
func (d *decoder) serverName(n *node, name string, verify bool) {
	if _, err := netip.ParseAddr(name); err == nil {
		if !verify {
			d.faultf(n, "write a host name, or remove it", "health.server_name has no effect with an IP address unless verify is true")
		}
		return
	}
	if host, f := parseHost(name, ""); host == "" || f != nil {
		d.faultf(n, "write one such as db.example.com", "%s is not a host name", quote(name))
	}
}
