package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// startHAProxy runs HAProxy in TCP mode with the given sections, which listen on the given ports.
// It does not say when it listens, and a connection to find out would be passed on.
func startHAProxy(t testing.TB, sections string, ports ...int) {
	t.Helper()
	file := filepath.Join(tempDir(t), "haproxy.cfg")
	writeFile(t, file, fmt.Appendf(nil, `global
	maxconn 200
defaults
	mode tcp
	timeout connect 5s
	timeout client 30s
	timeout server 30s
%s`, sections), 0o644)
	p := command{argv: []string{testenv.NeedTool(t, "haproxy"), "-db", "-f", file}}.start(t)
	for _, port := range ports {
		listens := fmt.Sprintf(":%04X 00000000:0000 0A", port) // proc_pid_net(5), TCP_LISTEN
		if !testnet.Within(patience, func() bool {
			table, err := os.ReadFile("/proc/net/tcp")
			return err == nil && strings.Contains(string(table), listens)
		}) {
			t.Fatalf("HAProxy does not listen on port %d\n%s", port, p.said())
		}
	}
}

const headerNginxConfig = `
daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr notice;
events { worker_connections 100; }
http {
	access_log off;
	client_body_temp_path %[1]s/tmp-body;
	proxy_temp_path %[1]s/tmp-proxy;
	fastcgi_temp_path %[1]s/tmp-fastcgi;
	uwsgi_temp_path %[1]s/tmp-uwsgi;
	scgi_temp_path %[1]s/tmp-scgi;
	server {
		listen 127.0.0.1:%[2]d proxy_protocol;
		location / { return 200 "$proxy_protocol_addr $proxy_protocol_server_port $http_x_test"; }
	}
}
`

// TestPeerProxyProtocol sends headers through a chain: HAProxy names the client, l4proxy believes
// it and names the same client to nginx. Both versions, and clients without HAProxy.
func TestPeerProxyProtocol(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	curl := testenv.NeedTool(t, "curl")
	dir, port := tempDir(t), testnet.FreePort(t)
	config := filepath.Join(dir, "nginx.conf")
	writeFile(t, config, fmt.Appendf(nil, headerNginxConfig, dir, port), 0o644)
	nginx := command{argv: []string{testenv.NeedTool(t, "nginx"), "-p", dir, "-e", "stderr", "-c", config}}.start(t)
	nginx.says(t, &nginx.stderr, "start worker process ")

	eachEngine(t, func(t *testing.T, engine string) {
		p := startProxy(t, engine, fmt.Sprintf(`
listeners:
  first: {bind: "127.0.0.1:0", pool: one, proxy_protocol: {from: 127.0.0.1}}
  second: {bind: "127.0.0.1:0", pool: two, proxy_protocol: {from: 127.0.0.1}}
  direct: {bind: "127.0.0.1:0", pool: one, proxy_protocol: {from: 192.0.2.1}}
pools:
  one: {backends: ["127.0.0.1:%[1]d"], send_proxy: v1}
  two:
    backends: ["127.0.0.1:%[1]d"]
    send_proxy: {version: v2, pass_tlvs: true, unique_id: true, tlvs: {0xE0: "text"}}
    health: {type: http, interval: 100ms}
`, port))
		ports := []int{testnet.FreePort(t), testnet.FreePort(t)}
		startHAProxy(t, fmt.Sprintf(`listen v2
	bind 127.0.0.1:%d
	server s 127.0.0.1:%s send-proxy-v2 proxy-v2-options crc32c,unique-id
listen v1
	bind 127.0.0.1:%d
	server s 127.0.0.1:%s send-proxy
`, ports[0], p.port(t, "first"), ports[1], p.port(t, "second")), ports...)
		get := func(from string, port string) string {
			url := "http://127.0.0.1:" + port + "/"
			return command{argv: []string{curl, "-sS", "--interface", from, "-H", "X-Test: whole", url}}.run(t)
		}
		for _, port := range ports {
			want := fmt.Sprintf("127.0.0.7 %d whole", port)
			if got := get("127.0.0.7", strconv.Itoa(port)); got != want {
				t.Errorf("nginx sees %q, want %q", got, want)
			}
		}
		if got, want := get("127.0.0.8", p.port(t, "direct")), "127.0.0.8 "+p.port(t, "direct")+" whole"; got != want {
			t.Errorf("nginx sees %q, want %q", got, want)
		}
		all := p.stop(t)
		for _, c := range append(all.of("first"), all.of("second")...) {
			if !strings.HasPrefix(c.Client, "127.0.0.7:") || !strings.HasPrefix(c.Peer, "127.0.0.1:") {
				t.Errorf("client %s, peer %s", c.Client, c.Peer)
			}
		}
		if len(all) != 3 || all.of("direct")[0].Peer != "" {
			t.Errorf("%+v", all)
		}
	})
	if text, _ := nginx.stderr.read(); strings.Contains(text, "broken header") {
		t.Errorf("nginx: %s", tail(text))
	}
}

// TestPeerPostgreSQLAtTheEdge: PostgreSQL behind HAProxy, which takes headers from l4proxy; and
// PostgreSQL by server name, with the SSLRequest answered here.
func TestPeerPostgreSQLAtTheEdge(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	tools, template, owner := preparePostgres(t)
	cert, key := filepath.Join(filepath.Dir(template), "cert.pem"), filepath.Join(filepath.Dir(template), "key.pem")
	selfSigned(t, cert, key)
	if owner != nil {
		if err := os.Chown(key, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	eachEngine(t, func(t *testing.T, engine string) {
		plain := startPostgres(t, tools, template, owner)
		secure := startPostgres(t, tools, template, owner, "-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key)
		front := testnet.FreePort(t)
		startHAProxy(t, fmt.Sprintf(`listen pg
	bind 127.0.0.1:%d accept-proxy
	server s 127.0.0.1:%s
`, front, plain.port), front)
		p := startProxy(t, engine, fmt.Sprintf(`
listeners:
  headed: {bind: "127.0.0.1:0", pool: headed}
  named:
    bind: "127.0.0.1:0"
    starttls: postgres
    routes:
      - {sni: secure.example.com, pool: secure}
      - {tls: false, pool: plain}
pools:
  headed: {backends: ["127.0.0.1:%d"], send_proxy: v2}
  secure: {backends: ["127.0.0.1:%s"]}
  plain: {backends: ["127.0.0.1:%s"]}
`, front, secure.port, plain.port))
		if got := tools.sql(t, loopback, p.port(t, "headed"), "SELECT 42"); got != "42" {
			t.Errorf("behind HAProxy: %q", got)
		}
		named := p.port(t, "named")
		at := func(host, mode string) (string, error) {
			c := command{argv: []string{tools.psql, "-XqAt", "-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
				"user=postgres dbname=postgres hostaddr=127.0.0.1 gssencmode=disable host=" + host + " port=" + named + " sslmode=" + mode}}
			out, _, err := c.try()
			return strings.TrimSpace(out), err
		}
		if got, err := at("secure.example.com", "require"); got != "t" || err != nil {
			t.Errorf("by its name: %q, %v", got, err)
		}
		if got, err := at("secure.example.com", "disable"); got != "f" || err != nil {
			t.Errorf("without TLS: %q, %v", got, err)
		}
		if got, err := at("other.example.com", "require"); err == nil {
			t.Errorf("by another name: %q", got)
		}
		p.says(t, &p.stderr, `"reason":"no_route".*"sni":"other.example.com"`)
		p.says(t, &p.stderr, `"pool":"secure".*"sni":"secure.example.com"`)
		testnet.Eventually(t, "the descriptors are those of before", func() bool { return p.settled(t) })
	})
}
