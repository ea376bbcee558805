package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// environment makes a lookup function of a map.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

const simpleFile = `{
  "LISTENER_PORT": "127.0.0.1:8080",
  "BACKEND_PORTS": ["127.0.0.1:8081", "127.0.0.1:8082"],
  "ACCESS_CONTROL_LIST": ["192.168.1.10", "10.0.0.0/8"]
}`

const fullFile = `
listeners: {web: {bind: ":8080"}}
pools: {web: {backends: ["127.0.0.1:8081"]}}
log: {level: warn, format: text}
`

// summary is what the simple form can say.
type summary struct {
	Bind     string
	Backends []string
	Allowed  []string
	Level    string
	Format   string
}

func summarize(c *Config) summary {
	s := summary{Level: logLevels.text(c.Log.Level), Format: c.Log.Format.String()}
	for _, b := range c.Listeners[0].Binds {
		s.Bind += b.String()
	}
	for _, b := range c.Pools[0].Backends {
		s.Backends = append(s.Backends, b.Address.String())
	}
	if acl := c.Listeners[0].ACL; acl != nil {
		for _, p := range acl.Rules[0].Prefixes {
			s.Allowed = append(s.Allowed, p.String())
		}
	}
	return s
}

func TestEnvironmentOverrides(t *testing.T) {
	backends := []string{"127.0.0.1:8081", "127.0.0.1:8082"}
	allowed := []string{"192.168.1.10/32", "10.0.0.0/8"}
	for name, tt := range map[string]struct {
		file string
		vars map[string]string
		want summary
	}{
		"nothing set": {simpleFile, nil, summary{"127.0.0.1:8080", backends, allowed, "info", "auto"}},
		"port": {simpleFile, map[string]string{"LISTENER_PORT": ":9090"},
			summary{":9090", backends, allowed, "info", "auto"}},
		"backends, with spaces": {simpleFile, map[string]string{"BACKEND_PORTS": " 10.0.0.1:80 , [::1]:81"},
			summary{"127.0.0.1:8080", []string{"10.0.0.1:80", "[::1]:81"}, allowed, "info", "auto"}},
		"list": {simpleFile, map[string]string{"ACCESS_CONTROL_LIST": "::ffff:1.2.3.4,::ffff:1.2.3.4/120"},
			summary{"127.0.0.1:8080", backends, []string{"1.2.3.4/32", "1.2.3.0/24"}, "info", "auto"}},
		"empty list": {simpleFile, map[string]string{"ACCESS_CONTROL_LIST": ""},
			summary{"127.0.0.1:8080", backends, nil, "info", "auto"}},
		"log": {simpleFile, map[string]string{"L4PROXY_LOG_LEVEL": "debug", "L4PROXY_LOG_FORMAT": "json"},
			summary{"127.0.0.1:8080", backends, allowed, "debug", "json"}},
		"log of the full form": {fullFile, map[string]string{"L4PROXY_LOG_LEVEL": "error"},
			summary{":8080", []string{"127.0.0.1:8081"}, nil, "error", "text"}},
		"empty log variables count as unset": {fullFile, map[string]string{"L4PROXY_LOG_LEVEL": "", "L4PROXY_LOG_FORMAT": ""},
			summary{":8080", []string{"127.0.0.1:8081"}, nil, "warn", "text"}},
		"the variable completes the file": {`{"BACKEND_PORTS": ["a:1"], "ACCESS_CONTROL_LIST": []}`, map[string]string{"LISTENER_PORT": ":1"},
			summary{":1", []string{"a:1"}, nil, "info", "auto"}},
		"the variable replaces a bad value": {`{"LISTENER_PORT": 5, "BACKEND_PORTS": ["a:1"], "ACCESS_CONTROL_LIST": []}`, map[string]string{"LISTENER_PORT": ":1"},
			summary{":1", []string{"a:1"}, nil, "info", "auto"}},
		"what Kubernetes sets for a Service named listener": {simpleFile, map[string]string{"LISTENER_PORT": "tcp://10.0.0.1:80"},
			summary{"127.0.0.1:8080", backends, allowed, "info", "auto"}},
		"the same, with an IPv6 cluster and the full form": {fullFile, map[string]string{"LISTENER_PORT": "udp://[fd00::1]:53"},
			summary{":8080", []string{"127.0.0.1:8081"}, nil, "warn", "text"}},
		"an empty object and all variables": {`{}`, map[string]string{"LISTENER_PORT": ":1", "BACKEND_PORTS": "a:1", "ACCESS_CONTROL_LIST": "10.0.0.1"},
			summary{":1", []string{"a:1"}, []string{"10.0.0.1/32"}, "info", "auto"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse("config", []byte(tt.file), environment(tt.vars))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, summarize(c)); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnvironmentAlone(t *testing.T) {
	c, err := Load("", environment(map[string]string{
		"LISTENER_PORT": "127.0.0.1:8080", "BACKEND_PORTS": "127.0.0.1:8081", "ACCESS_CONTROL_LIST": "",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if c.File != "" {
		t.Errorf("File %q, want none", c.File)
	}
	want := summary{"127.0.0.1:8080", []string{"127.0.0.1:8081"}, nil, "info", "auto"}
	if diff := cmp.Diff(want, summarize(c)); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if c.Listeners[0].ACL.DefaultAllow() {
		t.Error("the empty list allows clients by default, want none")
	}
	if got := len(c.Listeners[0].DenyMessage); got != 40 {
		t.Errorf("the deny message has %d bytes, want 40", got)
	}
}

// A variable that Kubernetes sets is ignored, with a warning.
func TestKubernetesWarning(t *testing.T) {
	const want = `$LISTENER_PORT: "tcp://10.0.0.1:80" is ignored, because Kubernetes sets it for a Service named listener: ` +
		`rename the Service, or set enableServiceLinks: false in the Pod`
	for _, file := range []string{simpleFile, fullFile} {
		c, err := Parse("config", []byte(file), environment(map[string]string{"LISTENER_PORT": "tcp://10.0.0.1:80"}))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Warnings.Error(); got != want {
			t.Errorf("warnings\n%s\nwant\n%s", got, want)
		}
	}
	c, err := Parse("config", []byte(fullFile+"workers: ${LISTENER_PORT:-2}"), environment(nil))
	if err != nil || len(c.Warnings) > 0 {
		t.Errorf("warnings %v, error %v", c.Warnings, err)
	}
}

func TestEnvironmentProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		file string
		vars map[string]string
		want string
	}{
		"none of the three": {"", nil, "" +
			"$ACCESS_CONTROL_LIST: not set, and there is no configuration file: set it, or write a configuration file\n" +
			"$BACKEND_PORTS: not set, and there is no configuration file: set it, or write a configuration file\n" +
			"$LISTENER_PORT: not set, and there is no configuration file: set it, or write a configuration file"},
		"bad values": {simpleFile, map[string]string{
			"LISTENER_PORT": "8080", "BACKEND_PORTS": "a:1,,a:1", "ACCESS_CONTROL_LIST": "10.0.0.1,host,",
			"L4PROXY_LOG_LEVEL": "loud", "L4PROXY_LOG_FORMAT": "JSON",
		}, "" +
			"$ACCESS_CONTROL_LIST: \"host\" is not an IP address or a CIDR prefix: write 192.168.1.10, 10.0.0.0/8 or 2001:db8::/32\n" +
			"$ACCESS_CONTROL_LIST: an empty address: remove it\n" +
			"$BACKEND_PORTS: the address is empty: write host:port or unix:/path\n" +
			"$BACKEND_PORTS: the backend a:1 is repeated: remove it, or give the first a higher weight\n" +
			"$L4PROXY_LOG_FORMAT: unknown log format \"JSON\": did you mean \"json\"?\n" +
			"$L4PROXY_LOG_LEVEL: unknown log level \"loud\": write debug, info, warn or error\n" +
			"$LISTENER_PORT: \"8080\" is a port without a host: write \":8080\""},
		"empty values": {simpleFile, map[string]string{"LISTENER_PORT": "", "BACKEND_PORTS": " "}, "" +
			"$BACKEND_PORTS: the list backends is empty: write at least one entry\n" +
			"$LISTENER_PORT: the address is empty: write host:port or unix:/path"},
		"of Kubernetes, and no file": {"", map[string]string{"LISTENER_PORT": "tcp://10.0.0.1:80", "BACKEND_PORTS": "a:1", "ACCESS_CONTROL_LIST": ""}, "" +
			"$LISTENER_PORT: Kubernetes has set it to \"tcp://10.0.0.1:80\" for a Service named listener, and there is no configuration file: set it to host:port, or write a configuration file"},
		"like those of Kubernetes": {simpleFile, map[string]string{"LISTENER_PORT": "tcp://localhost:80", "BACKEND_PORTS": "tcp://10.0.0.1:80"}, "" +
			"$BACKEND_PORTS: the address \"tcp://10.0.0.1:80\" begins with \"tcp://\": write \"10.0.0.1:80\"\n" +
			"$LISTENER_PORT: the address \"tcp://localhost:80\" begins with \"tcp://\": write \"localhost:80\""},
		"beside the full form": {fullFile, map[string]string{"ACCESS_CONTROL_LIST": ""}, "" +
			"$ACCESS_CONTROL_LIST: set, but has no effect on config.yaml, which is in the full form: unset it"},
		"before the file's": {fullFile + "wrkers: 1\n", map[string]string{"L4PROXY_LOG_LEVEL": "x"}, "" +
			"$L4PROXY_LOG_LEVEL: unknown log level \"x\": write debug, info, warn or error\n" +
			"config.yaml:5:1: unknown key \"wrkers\": did you mean \"workers\"?"},
		"beside a file that cannot be read": {"a: [", map[string]string{"L4PROXY_LOG_LEVEL": "x"}, "" +
			"$L4PROXY_LOG_LEVEL: unknown log level \"x\": write debug, info, warn or error\n" +
			"config.yaml:1:4: not valid YAML, sequence end token ']' not found: check the indentation (spaces only), the quotes and the brackets, and put values with : [ ] { } @ or ${ in quotes"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			if tt.file == "" {
				_, err = Load("", environment(tt.vars))
			} else {
				_, err = Parse("config.yaml", []byte(tt.file), environment(tt.vars))
			}
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
