package config

import (
	"net/netip"
	"slices"
	"strings"
)

// The three keys of the simple form, which are also environment variables.
const (
	keyListenerPort = "LISTENER_PORT"
	keyBackendPorts = "BACKEND_PORTS"
	keyAccessList   = "ACCESS_CONTROL_LIST"
)

var simpleKeys = []string{keyListenerPort, keyBackendPorts, keyAccessList}

// FromEnvironment reports whether the environment holds the whole simple form, so that no file is
// needed. env is like [os.LookupEnv].
func FromEnvironment(env func(string) (string, bool)) bool {
	return !slices.ContainsFunc(simpleKeys, func(key string) bool {
		_, ok := env(key)
		return !ok
	})
}

func isSimpleKey(key string) bool { return slices.Contains(simpleKeys, key) }

// simpleName is the name of the listener and of the pool of the simple form.
const simpleName = "default"

// simple is the simple form: three keys that set values of one listener and one pool.
type simple struct {
	listener *Listener
	pool     *Pool
}

func (s simple) fields() fields {
	rule := &s.listener.ACL.Rules[0]
	return fields{
		{keyListenerPort, required(bind(&s.listener.Binds[0]), `write "LISTENER_PORT": "127.0.0.1:8080", or set the environment variable`),
			"The address to listen on. `\":8080\"` is every address of the machine."},
		{keyBackendPorts, required(listOf(&s.pool.Backends, backend), `write "BACKEND_PORTS": ["127.0.0.1:8081"], or set the environment variable`),
			"The backends. Each client goes to the one with the fewest connections."},
		{keyAccessList, required(plainList{clients{rule, true}}, `write "ACCESS_CONTROL_LIST": ["127.0.0.1"], or set the environment variable`),
			"IP addresses and CIDR prefixes that may connect. `::ffff:1.2.3.4` is `1.2.3.4`. **An empty list denies every client.**"},
	}
}

// plainList is the list of allowed clients: without files, and it may be empty.
type plainList struct{ clients }

func (v plainList) empty() bool { return false }

func (v plainList) decode(d *decoder, n *node, p *path) {
	v.rule.Prefixes, _ = d.prefixes(n, p, false)
}

func (v plainList) schema() schema {
	return schema{"type": "array", "items": schema{"type": "string"}}
}

func newSimple(c *Config) simple {
	l, p := Listener{}, Pool{}
	SetDefaults(&l)
	SetDefaults(&p)
	l.Name, p.Name, l.Pool = simpleName, simpleName, simpleName
	l.Binds = make([]Bind, 1)
	// One allow rule, also when it allows no client: a list with an allow rule denies what it does
	// not match.
	l.ACL = &ACL{Rules: []Rule{{Allow: true}}}
	c.Listeners, c.Pools = []Listener{l}, []Pool{p}
	return simple{&c.Listeners[0], &c.Pools[0]}
}

// simplePaths are the paths of the values that the keys of the simple form set.
var simplePaths = map[string]*path{
	keyListenerPort: newPath("listeners", simpleName, "bind", 0),
	keyBackendPorts: newPath("pools", simpleName, "backends"),
	keyAccessList:   newPath("listeners", simpleName, "acl", 0, "allow"),
}

// simpleRoot stands for a file in the simple form: the paths of what is in it are those of the full
// form.
var simpleRoot = new(path)

// simplePath is the path in the simple form of a value of the full form.
func simplePath(path string) string {
	for key, full := range simplePaths {
		if rest, ok := strings.CutPrefix(path, full.String()); ok {
			return key + rest
		}
	}
	return ""
}

// simple decodes the simple form: the file's keys, each of which an environment variable of the
// same name replaces. root is nil without a file.
func (d *decoder) simple(c *Config, root *node) {
	form := newSimple(c)
	merged := &node{kind: kindMap}
	if root != nil {
		merged.line, merged.col = root.line, root.col
		for _, m := range root.members {
			if _, replaced := d.override(m.key); !replaced || !isSimpleKey(m.key) {
				merged.members = append(merged.members, m)
			}
		}
	}
	for _, key := range simpleKeys {
		if text, ok := d.override(key); ok {
			merged.members = append(merged.members, &member{key: key, value: envNode(key, text)})
		}
	}
	c.Source = &Source{file: d.file, root: merged, simple: true}
	for _, f := range form.fields() {
		switch p := simpleRoot.child(f.key); {
		case merged.member(f.key) != nil:
		case root == nil:
			d.notSet(f.key, p)
		default:
			d.faultf(merged, p, f.value.(requiredValue).hint, "%s is missing", f.key)
		}
	}
	section(form).decode(d, merged, simpleRoot)
}

// envNode is the value of a variable, as if it were in a file.
func envNode(name, text string) *node {
	if name == keyListenerPort {
		return &node{kind: kindString, env: name, text: text}
	}
	n := &node{kind: kindList, env: name}
	for _, entry := range strings.Split(text, ",") {
		if strings.TrimSpace(text) != "" {
			n.items = append(n.items, &node{kind: kindString, env: name, text: strings.TrimSpace(entry)})
		}
	}
	return n
}

// notSet reports that a variable is missing, and there is no file.
func (d *decoder) notSet(name string, p *path) {
	at := &node{env: name}
	if text, _ := d.env(name); ofKubernetes(name, text) {
		d.faultf(at, p, "set it to host:port, or write a configuration file",
			"Kubernetes has set it to %s for a Service named listener, and there is no configuration file", quote(text))
		return
	}
	d.faultf(at, p, "set it, or write a configuration file", "not set, and there is no configuration file")
}

func (d *decoder) simpleEnv() bool {
	return slices.ContainsFunc(simpleKeys, func(key string) bool {
		_, ok := d.override(key)
		return ok
	})
}

// override returns the variable that replaces a key of the simple form, unless Kubernetes has set
// the variable.
func (d *decoder) override(name string) (string, bool) {
	text, ok := d.env(name)
	if !ok || !ofKubernetes(name, text) {
		return text, ok
	}
	if !slices.ContainsFunc(d.warnings, func(p Problem) bool { return p.Env == name }) {
		d.warnings = append(d.warnings, Problem{Position{Env: name}, *faultf("rename the Service, or set enableServiceLinks: false in the Pod",
			"%s is ignored, because Kubernetes sets it for a Service named listener", quote(text))})
	}
	return "", false
}

// ofKubernetes reports whether Kubernetes has set a variable. In all containers it sets
// NAME_PORT=tcp://10.0.0.1:80 for a Service called name, and some more. Of the variables that are
// read here, only LISTENER_PORT has such a name.
func ofKubernetes(name, text string) bool {
	scheme, address, ok := strings.Cut(text, "://")
	if name != keyListenerPort || !ok || scheme != "tcp" && scheme != "udp" && scheme != "sctp" {
		return false
	}
	_, err := netip.ParseAddrPort(address)
	return err == nil
}

// refuseSimpleEnv reports variables of the simple form beside a file in the full form: they would
// have no effect, and a list of allowed clients without effect must not go unnoticed.
func (d *decoder) refuseSimpleEnv() {
	for _, key := range simpleKeys {
		if _, ok := d.override(key); ok {
			d.report(*faultf("unset it", "set, but has no effect on %s, which is in the full form", d.file), &node{env: key})
		}
	}
}

// logEnv applies the variables that override the log section. An empty one counts as unset.
func (d *decoder) logEnv(c *Config) {
	for key, name := range map[string]string{"level": "L4PROXY_LOG_LEVEL", "format": "L4PROXY_LOG_FORMAT"} {
		if text, _ := d.env(name); text != "" {
			p := (*path)(nil).child("log").child(key)
			c.Log.fields().find(key).value.decode(d, &node{kind: kindString, env: name, text: text}, p)
		}
	}
}
