package config

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

const adminRest = "listeners: {web: {bind: \":80\"}}\npools: {web: {backends: [\"10.0.0.1:80\"]}}\n"

// The variables give the admin address in both forms, and replace that of the file.
func TestAdminFromEnvironment(t *testing.T) {
	simple := `{"LISTENER_PORT": ":80", "BACKEND_PORTS": ["10.0.0.1:80"], "ACCESS_CONTROL_LIST": []}`
	for _, c := range []struct {
		name, text, bind, token string
		want                    string // bind and token, or the problem
	}{
		{"full", adminRest, "127.0.0.1:1", "", "127.0.0.1:1 "},
		{"simple", simple, "unix:/run/a", "", "unix:/run/a "},
		{"replaced", "admin: {bind: \"127.0.0.1:2\", token: 0123456789abcdef0x}\n" + adminRest, "127.0.0.1:1", "", "127.0.0.1:1 0123456789abcdef0x"},
		{"only bind", "admin: {token: 0123456789abcdef0x}\n" + adminRest, "10.0.0.1:1", "", "10.0.0.1:1 0123456789abcdef0x"},
		{"token", adminRest, "10.0.0.1:1", "another-token-of-20-b", "10.0.0.1:1 another-token-of-20-b"},
		{"token alone is for the commands", adminRest, "", "another-token-of-20-b", "none"},
		{"no token", adminRest, "10.0.0.1:1", "", "$L4PROXY_ADMIN: the admin address 10.0.0.1:1 is not a loopback address"},
		{"no token, simple", simple, ":1", "", "$L4PROXY_ADMIN: the admin address :1 is not a loopback address"},
		{"taken", adminRest, "127.0.0.1:80", "", "$L4PROXY_ADMIN: 127.0.0.1:80 of the admin address overlaps :80 of the listener \"web\""},
		{"wrong", adminRest, "9901", "", "$L4PROXY_ADMIN: \"9901\" is a port without a host: write \":9901\""},
		{"wrong token", adminRest, "127.0.0.1:1", "ä", "$L4PROXY_ADMIN_TOKEN: the token contains"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := Parse("config", []byte(c.text), func(name string) (string, bool) {
				text := map[string]string{"L4PROXY_ADMIN": c.bind, "L4PROXY_ADMIN_TOKEN": c.token}[name]
				return text, text != ""
			})
			got := "none"
			switch {
			case err != nil:
				got = err.Error()
			case cfg.Admin != nil:
				got = cfg.Admin.Bind.String() + " " + string(cfg.Admin.Token)
			}
			if !strings.HasPrefix(got, c.want) || err == nil && got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestSecretIsNotShown(t *testing.T) {
	cfg, err := Parse("config", []byte("admin: {bind: \":1\", token: hush}\n"+adminRest), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		string(text), fmt.Sprint(cfg.Admin), fmt.Sprintf("%+v %#v %s", *cfg.Admin, *cfg.Admin, cfg.Admin.Token), cfg.Warnings.Error(),
	} {
		if strings.Contains(shown, "hush") {
			t.Errorf("the token is in %s", shown)
		}
	}
	if cfg.Admin.Token != "hush" {
		t.Errorf("the token is %q", string(cfg.Admin.Token))
	}
}

func TestLoopbackAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true, "localhost:1": true,
		"LOCALHOST.:1": true, "unix:/run/x": true,
		":1": false, "0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "example.com:1": false,
		"localhost.example.com:1": false, "[fe80::1%eth0]:1": false,
	} {
		b, f := parseBind(text)
		if f != nil {
			t.Fatal(f)
		}
		if b.IsLoopback() != want {
			t.Errorf("%s: IsLoopback() = %v", text, b.IsLoopback())
		}
	}
}

// The admin address is found in a file with problems elsewhere.
func TestLoadAdmin(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"good.yaml", "admin: {bind: \"127.0.0.1:1\", token: 0123456789abcdef}\n" + adminRest, "127.0.0.1:1 0123456789abcdef"},
		{"bad.yaml", "admin: {bind: \"127.0.0.1:1\"}\nlisteners: {web: {bnid: 5}}\npools: ~\n", "127.0.0.1:1 "},
		{"bad.json", `{"listeners": 7, "admin": {"bind": "unix:/run/a"}}`, "unix:/run/a "},
		{"none.yaml", adminRest, "none"},
		{"simple.json", `{"LISTENER_PORT": ":1"}`, "none"},
		{"list.yaml", "[1]", "none"},
		{"wrong.yaml", "admin: {bind: 9901}\n", "wrong.yaml:1:15: expected host:port"},
		{"missing.yaml", "admin: {}\n", "missing.yaml:1:1: bind is missing"},
		{"broken.yaml", "admin: {bind\n", "broken.yaml:1:"},
		{"empty.yaml", "", "empty.yaml:1:1: the file is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile(c.name, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			a, err := LoadAdmin(c.name, nil)
			got := "none"
			switch {
			case err != nil:
				got = err.Error()
			case a != nil:
				got = a.Bind.String() + " " + string(a.Token)
			}
			if !strings.HasPrefix(got, c.want) || err == nil && got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	if _, err := LoadAdmin("/nonexistent/config.yaml", nil); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a file that is missing: %v", err)
	}
}

// A new token is a difference, and shows neither the old one nor the new one.
func TestTokenIsADifference(t *testing.T) {
	parse := func(token string) *Config {
		cfg, err := Parse("config.yaml", []byte("admin: {bind: \"127.0.0.1:1\", token: "+token+"}\n"+adminRest), nil)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	old := parse("0123456789abcdef-old")
	if d := Differences(old, old); len(d) != 0 {
		t.Errorf("differences %+v from itself", d)
	}
	d := Differences(old, parse("0123456789abcdef-new"))
	if len(d) != 1 || d[0].Key != "admin.token" || strings.Contains(fmt.Sprintf("%+v", d), "abcdef") {
		t.Errorf("differences %+v", d)
	}
	without, err := Parse("config.yaml", []byte(adminRest), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := Differences(without, old); len(d) != 1 || strings.Contains(fmt.Sprintf("%+v", d), "abcdef") {
		t.Errorf("differences %+v", d)
	}
}
