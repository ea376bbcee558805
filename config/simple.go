package config

import (
	"net/netip"
	"slices"
	"strings"
)

// simple decodes the simple form: the file's keys, each of which an
// environment variable of the same name replaces. root is nil without a file.
func (d *decoder) simple(root *node) *Config {
	c := d.defaults()
	c.Simple = true
	var f fields
	pos := Position{}
	if root != nil {
		f, _ = d.object(root, root, simpleSection)
		pos = d.position(root)
	}
	l := defaultListener("default", pos)
	p := defaultPool("default", pos)
	l.Pool = p.Name

	if text, ok := d.override(keyListenerPort); ok {
		binds, f := parseBinds(text)
		if f != nil {
			d.envFault(keyListenerPort, f)
		}
		l.Binds = binds
	} else if n := d.simpleValue(f, root, keyListenerPort); n != nil {
		l.Binds = d.bindOnce(n)
	}
	if text, ok := d.override(keyBackendPorts); ok {
		p.Backends = d.envBackends(text)
	} else if n := d.simpleValue(f, root, keyBackendPorts); n != nil {
		p.Backends = d.backends(n)
	}
	// One allow rule, also when it allows nobody: a list with an allow rule
	// denies whoever matches none.
	rule := Rule{Allow: true, Name: ruleName(true, 0)}
	if text, ok := d.override(keyAccessList); ok {
		rule.Prefixes = d.envPrefixes(text)
	} else if n := d.simpleValue(f, root, keyAccessList); n != nil {
		rule.Prefixes, _ = d.prefixes(n, false)
		rule.Pos = d.position(n)
	}
	l.ACL = &ACL{Rules: []Rule{rule}}
	d.socket(root, nil, &l)
	c.Listeners = []Listener{l}
	c.Pools = []Pool{p}
	d.addresses(c)
	return c
}

// simpleValue returns the file's value of a key, or reports that it is
// missing there as well.
func (d *decoder) simpleValue(f fields, root *node, name string) *node {
	if n := f[name]; n != nil {
		return n
	}
	if text, _ := d.env(name); root == nil && ofKubernetes(name, text) {
		d.envFault(name, faultf("set it to host:port, or write a configuration file",
			"Kubernetes has set it to %s for a Service named listener, and there is no configuration file", quote(text)))
	} else if root == nil {
		d.envFault(name, faultf("set it, or write a configuration file", "not set, and there is no configuration file"))
	} else if root.kind == kindMap {
		d.faultf(root, simpleSection.key(name).hint, "%s is missing", name)
	}
	return nil
}

// override returns the variable that replaces a key of the simple form, unless
// Kubernetes has set the variable.
func (d *decoder) override(name string) (string, bool) {
	text, ok := d.env(name)
	if !ok || !ofKubernetes(name, text) {
		return text, ok
	}
	warning := Problem{Env: name, Msg: quote(text) + " is ignored, because Kubernetes sets it for a Service named listener",
		Fix: "rename the Service, or set enableServiceLinks: false in the Pod"}
	if !slices.Contains(d.warnings, warning) {
		d.warn(warning)
	}
	return "", false
}

// ofKubernetes reports whether Kubernetes has set a variable. In all containers
// it sets NAME_PORT=tcp://10.0.0.1:80 for a Service called name, and some more.
// Of the variables that are read here, only LISTENER_PORT has such a name.
func ofKubernetes(name, text string) bool {
	scheme, address, ok := strings.Cut(text, "://")
	if name != keyListenerPort || !ok || scheme != "tcp" && scheme != "udp" && scheme != "sctp" {
		return false
	}
	_, err := netip.ParseAddrPort(address)
	return err == nil
}

func (d *decoder) envFault(name string, f *fault) {
	d.add(Problem{Env: name, Msg: f.msg, Fix: f.fix})
}

// bindOnce decodes the file's LISTENER_PORT, which is one string.
func (d *decoder) bindOnce(n *node) []Bind {
	if n.kind == kindList {
		d.expected(n, "one host:port", "use the full form (listeners, pools) for several")
		return nil
	}
	return d.bind(n)
}

func (d *decoder) envBackends(text string) []Backend {
	var backends []Backend
	seen := make(map[string]bool)
	for _, entry := range splitList(text) {
		b, f := parseBackend(entry)
		if f == nil && seen[b.Address] {
			f = faultf("remove it", "the backend %s is repeated", b.Address)
		}
		if f != nil {
			d.envFault(keyBackendPorts, f)
			continue
		}
		seen[b.Address] = true
		b.Weight = defaultWeight
		backends = append(backends, b)
	}
	if strings.TrimSpace(text) == "" {
		d.envFault(keyBackendPorts, faultf("write 127.0.0.1:8081, or unset it", "there is no backend"))
	}
	return backends
}

func (d *decoder) envPrefixes(text string) (prefixes []netip.Prefix) {
	for _, entry := range splitList(text) {
		p, f := parsePrefix(entry)
		if f != nil {
			d.envFault(keyAccessList, f)
			continue
		}
		prefixes = append(prefixes, p)
	}
	return prefixes
}

// splitList splits a variable at its commas; the empty text is an empty list.
func splitList(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	entries := strings.Split(text, ",")
	for i := range entries {
		entries[i] = strings.TrimSpace(entries[i])
	}
	return entries
}

// refuseSimpleEnv reports variables of the simple form beside a file in the
// full form: they would have no effect, and a list of allowed clients without
// effect must not go unnoticed.
func (d *decoder) refuseSimpleEnv() {
	for _, k := range simpleSection.keys {
		if _, ok := d.override(k.name); ok {
			d.envFault(k.name, faultf("unset it", "set, but has no effect on %s, which is in the full form", d.file))
		}
	}
}

// logEnv applies the variables that override the log section. An empty one
// counts as unset.
func (d *decoder) logEnv(log *Log) {
	for _, v := range []struct {
		name string
		of   *choice
		dst  *string
	}{
		{"L4PROXY_LOG_LEVEL", logLevels, &log.Level},
		{"L4PROXY_LOG_FORMAT", logFormats, &log.Format},
	} {
		text, _ := d.env(v.name)
		if text == "" {
			continue
		}
		if f := v.of.check(text); f != nil {
			d.envFault(v.name, f)
			continue
		}
		*v.dst = text
	}
}
