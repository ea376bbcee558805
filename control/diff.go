package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"l4proxy/config"
)

// Change is one difference between the running configuration and another, and what it means for
// live connections.
type Change struct {
	// Part is "process", "listener", "rule", "list", "pool" or "backend"; Name is that of the
	// listener, the pool or the list file, Item the address of the backend or the name of the rule.
	Part string `json:"part"`
	Name string `json:"name,omitempty"`
	Item string `json:"item,omitempty"`
	// Action is "added", "removed" or "changed". Key is what has changed, from Old to New.
	Action string `json:"action"`
	Key    string `json:"key,omitempty"`
	Old    string `json:"old,omitempty"`
	New    string `json:"new,omitempty"`
	// Connections are the live ones of the listener, the pool or the backend, and Effect is what
	// happens to them.
	Connections int64  `json:"connections"`
	Effect      string `json:"effect,omitempty"`
	// AtStart says that the change takes effect only with a restart or an upgrade.
	AtStart bool `json:"at_start,omitempty"`
}

// String is the change in words, on one line.
func (c Change) String() string {
	text := c.subject() + " "
	switch {
	case c.Key != "":
		text = c.subject() + ": " + c.Key + " " + cmp.Or(c.Old, "(none)") + " -> " + cmp.Or(c.New, "(none)")
	case c.Action == "added" && c.New != "" && c.New != "{}":
		text += "added: " + c.New
	default:
		text += c.Action
	}
	if c.Effect != "" {
		text += ": " + c.Effect
	}
	return text
}

func (c Change) subject() string {
	switch c.Part {
	case "process":
		return c.Part
	case "rule":
		return "listener " + c.Name + ": rule " + c.Item
	case "backend":
		return "pool " + c.Name + ": backend " + c.Item
	}
	return c.Part + " " + c.Name
}

// summary is what has changed, short enough for a log line.
func summary(changes []Change) string {
	const shown = 8
	if len(changes) == 0 {
		return "no changes"
	}
	var lines []string
	for _, c := range changes[:min(shown, len(changes))] {
		lines = append(lines, c.String())
	}
	if more := len(changes) - shown; more > 0 {
		lines = append(lines, fmt.Sprintf("%d more", more))
	}
	return strings.Join(lines, "; ")
}

// startSettings are the settings that cannot change while the process runs.
var startSettings = []string{"workers", "engine", "log.format"}

// restartSettings are those of them that an upgrade does not change either: what a process has
// given up, the process after it lacks too.
var restartSettings = []string{"user", "group", "confine"}

// keepStartSettings gives cfg the values of them that are in effect, so that each reload compares
// with what runs.
func keepStartSettings(cfg, running *config.Config) {
	cfg.Workers, cfg.Engine, cfg.Log.Format = running.Workers, running.Engine, running.Log.Format
	cfg.User, cfg.Group, cfg.Confine = running.User, running.Group, running.Confine
}

// compare lists the changes from the running configuration to the next, in a stable order.
func compare(live *Live, running, next *configured) []Change {
	load := live.load()
	changes := []Change{}
	for _, d := range config.Differences(running.cfg, next.cfg) {
		c := Change{Part: d.Part, Name: d.Name, Item: d.Item, Key: d.Key, Old: d.Old, New: d.New, Action: "changed"}
		switch {
		case d.Key != "":
		case d.Old == "":
			c.Action = "added"
		default:
			c.Action = "removed"
		}
		switch d.Part {
		case "process":
			if c.AtStart = slices.Contains(startSettings, d.Key); c.AtStart {
				c.Effect = "takes effect with a restart or an upgrade"
			}
			if slices.Contains(restartSettings, d.Key) {
				c.AtStart, c.Effect = true, "takes effect with a restart"
			}
		case "listener":
			c.Connections = load.listeners[d.Name]
			c.Effect = listenerEffect(c)
		case "pool":
			c.Connections = load.pools[d.Name]
			c.Effect = poolEffect(c, running.plan)
		case "backend":
			c.Connections = load.backends[backendName{d.Name, d.Item}]
			c.Effect = backendEffect(c, next.plan)
			if given := load.weights[backendName{d.Name, d.Item}]; given > 0 && d.Key == "weight" {
				c.Effect = fmt.Sprintf("the weight %d set at run time stays in effect until it is reset", given)
			}
		}
		changes = append(changes, c)
	}
	return changes
}

func listenerEffect(c Change) string {
	if c.Connections == 0 {
		return ""
	}
	switch {
	case c.Action == "removed":
		return stay(c.Connections) + " open until they end"
	case c.Key == "max_connections":
		if limit, err := strconv.ParseInt(c.New, 10, 64); err == nil && limit < c.Connections {
			return fmt.Sprintf("%s open; no new ones until fewer than %d are left", stay(c.Connections), limit)
		}
		return ""
	case isBandwidth(c.Key) && c.Connections == 1:
		return "applies to 1 connection at once"
	case isBandwidth(c.Key):
		return "applies to " + connections(c.Connections) + " at once"
	case strings.HasPrefix(c.Key, "per_client"):
		return clientsEffect(c)
	case c.Key == "bind" || c.Key == "routes" || c.Key == "acl" || c.Key == "acl default":
		return stay(c.Connections) + " open"
	case c.Connections == 1:
		return "1 connection keeps the old value"
	}
	return connections(c.Connections) + " keep the old value"
}

// clientsEffect is what a change of the limits of each client means for open connections. The
// limits are live, but only connections that began under them are counted.
func clientsEffect(c Change) string {
	switch key := strings.TrimPrefix(c.Key, "per_client"); {
	case key == "" && c.Old == "", key == ".ipv4_prefix", key == ".ipv6_prefix":
		return stay(c.Connections) + " open, not counted toward these limits"
	}
	return stay(c.Connections) + " open"
}

// isBandwidth reports whether a key of a listener is one of its limits of bandwidth. They are live.
func isBandwidth(key string) bool {
	return strings.HasPrefix(key, "bandwidth") || strings.HasPrefix(key, "per_client.bandwidth")
}

func poolEffect(c Change, running *Plan) string {
	if c.Key == "max_connections" && c.Connections > 0 {
		if limit, err := strconv.ParseInt(c.New, 10, 64); err == nil && limit < c.Connections {
			return fmt.Sprintf("%s open; no new ones until fewer than %d are left", stay(c.Connections), limit)
		}
	}
	if c.Action != "removed" || c.Connections == 0 {
		return ""
	}
	i := slices.IndexFunc(running.Pools, func(p PoolPlan) bool { return p.Name == c.Name })
	return removal(c.Connections, running.Pools[i].Rules)
}

func backendEffect(c Change, next *Plan) string {
	switch {
	case c.Connections == 0:
		return ""
	case c.Action == "removed" || c.Key == "down" && c.New == "true":
		i := slices.IndexFunc(next.Pools, func(p PoolPlan) bool { return p.Name == c.Name })
		return removal(c.Connections, next.Pools[i].Rules)
	}
	return stay(c.Connections) + " open"
}

// removal is what happens to the connections of a removed backend.
func removal(n int64, r Rules) string {
	if n == 0 {
		return ""
	}
	within := func(d time.Duration) string {
		if d == 0 {
			return "at once"
		}
		return "within " + d.String()
	}
	what := ""
	switch r.OnRemoved {
	case config.LiveKeep:
		what = "left to end by themselves"
	case config.LiveDrain:
		what = "drained " + within(r.Drain) + ", the rest closed " + within(r.Spread) + " after that"
		if r.Spread == 0 {
			what = "drained " + within(r.Drain)
		}
	case config.LiveClose:
		what = "closed " + within(r.Spread)
	case config.LiveReset:
		what = "reset " + within(r.Spread)
	}
	return fmt.Sprintf("%s, %s (on_removed: %s)", connections(n), what, r.OnRemoved)
}

func stay(n int64) string {
	if n == 1 {
		return "1 connection stays"
	}
	return connections(n) + " stay"
}

func connections(n int64) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// load is how many live connections there are.
type load struct {
	listeners, pools map[string]int64
	backends         map[backendName]int64
	weights          map[backendName]int // that an operator has set
}

// backendName is a backend as it is configured.
type backendName struct{ pool, address string }

func (l *Live) load() load {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := load{make(map[string]int64), make(map[string]int64), make(map[backendName]int64), make(map[backendName]int)}
	for name, slots := range l.slots {
		now.listeners[name] = slots.Used()
	}
	for name, of := range l.weights {
		for address, w := range of {
			now.weights[backendName{name, address}] = w.value
		}
	}
	for name, pool := range l.pools {
		for _, b := range pool.backends {
			now.pools[name] += b.Active()
		}
		for i := range pool.plan.Entries { // a name counts for all its addresses
			e := &pool.plan.Entries[i]
			for _, planned := range e.backends() {
				if b := pool.backends[planned.Key]; b != nil {
					now.backends[backendName{name, e.Address}] += b.Active()
				}
			}
		}
	}
	return now
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
