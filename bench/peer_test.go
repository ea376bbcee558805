package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"l4proxy/internal/testenv"
)

// The peers check the configurations that their templates make. A warning means that
// a peer would ignore or change a setting.
func TestConfigurationsAreTaken(t *testing.T) {
	for _, test := range []struct {
		tool  string
		find  func(context.Context) ([]peer, error)
		check string
	}{
		{"haproxy", findHAProxy, "-c"},
		{"nginx", findNginx, "-t"},
	} {
		testenv.NeedTool(t, test.tool)
		peers, err := test.find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []size{{}, {backends: 100, prefixes: 1000}, {failing: true}, {sni: serverName}} {
			set, err := testLab(t).setup(t.TempDir(), n)
			if err != nil {
				t.Fatal(err)
			}
			set.SendProxy = "v1"
			argv, err := peers[0].command(set)
			if err != nil {
				t.Fatal(err)
			}
			argv = append(argv, test.check)
			out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
			if err != nil || bytes.Contains(bytes.ToLower(out), []byte("warn")) {
				t.Errorf("%q: %v\n%s", argv, err, out)
			}
		}
	}
}

func TestFindPeers(t *testing.T) {
	o := options{peers: []string{"routed", "tcpproxy", "l4proxy", "direct"}, engines: []string{"epoll"}, l4proxy: "/nowhere/l4proxy", plainProxy: build(t, ".", "./plainproxy")}
	peers, missing, err := findPeers(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(missing) != 1 || !strings.HasPrefix(missing[0], "l4proxy: ") {
		t.Errorf("missing %q, want l4proxy, which is nowhere", missing)
	}
	peers, missing = testLab(t).offers(peers)
	if len(peers) != 2 || peers[0].name != "tcpproxy" || peers[1].name != "direct" {
		t.Errorf("peers %v, want tcpproxy and direct", peers)
	}
	if want := []string{"routed: only with -network namespaces"}; !slices.Equal(missing, want) {
		t.Errorf("missing %q, want %q", missing, want)
	}
	o.peers = []string{"all"}
	if peers, missing, err = findPeers(t.Context(), o); err != nil || len(peers)+len(missing) != len(peerNames()) {
		t.Errorf("all peers are %v, missing %q, error %v", peers, missing, err)
	}
	o.peers = []string{"envoy"}
	if _, _, err := findPeers(t.Context(), o); !errors.Is(err, errNoPeer) || !strings.Contains(err.Error(), "routed, dnat, haproxy") {
		t.Errorf("an unknown peer: %v", err)
	}
}

func TestStreamModule(t *testing.T) {
	dir := t.TempDir()
	module := filepath.Join(dir, "ngx_stream_module.so")
	dynamic := "nginx version: nginx/1\nconfigure arguments: --modules-path=" + dir + " --with-stream=dynamic --with-stream_ssl_module"
	if _, err := streamModule(dynamic); err == nil {
		t.Error("a module that is not installed was found")
	}
	if err := os.WriteFile(module, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for about, want := range map[string]string{dynamic: module, "configure arguments: --with-stream": ""} {
		if got, err := streamModule(about); got != want || err != nil {
			t.Errorf("streamModule(%q) = %q, %v, want %q", about, got, err, want)
		}
	}
	if _, err := streamModule("configure arguments: --with-http"); err == nil {
		t.Error("an nginx without stream was taken")
	}
}
