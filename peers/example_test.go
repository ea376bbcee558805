package peers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// These tests run the examples for failover as they are, except for the addresses.

// example is an example with other addresses. Each of them has to be there.
func example(t *testing.T, name string, addresses ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../examples", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(addresses); i += 2 {
		if !strings.Contains(string(text), addresses[i]) {
			t.Fatalf("%s does not contain %s", name, addresses[i])
		}
	}
	return strings.NewReplacer(addresses...).Replace(string(text))
}

// wantReset waits until a client of the old server is reset.
func wantReset(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client of the old server: %v, want a reset", err)
	}
}

// node is a PostgreSQL server with what answers in the name of Patroni.
type node struct {
	*postgres
	tools  postgresTools
	locked atomic.Bool // Patroni would hold the leader lock here
}

// start starts the server. Each node has an address of its own, because all have the same ports.
func (n *node) start(t *testing.T, owner *syscall.Credential, dir, host, port string) {
	t.Helper()
	p := command{
		argv: []string{
			n.tools.postgres, "-D", filepath.Join(dir, "data"), "-c", "port=" + port, "-c", "listen_addresses=" + host,
			"-c", "unix_socket_directories=" + dir, "-c", "shared_buffers=16MB", "-c", "max_connections=20",
			"-c", "dynamic_shared_memory_type=mmap", "-c", "fsync=off", "-c", "autovacuum=off",
		},
		dir: dir, user: owner, stop: syscall.SIGINT,
	}.start(t)
	p.says(t, &p.stderr, "database system is ready to accept (read-only )?connections")
	n.postgres = &postgres{process: p, dir: dir, port: port}
}

// serveREST answers like Patroni's REST API: from the lock, and from what the server says.
func (n *node) serveREST(t *testing.T, host, port string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recovering, err := n.recovering()
		primary := err == nil && !recovering && n.locked.Load()
		replica := err == nil && recovering
		if r.URL.Path == "/primary" && primary || r.URL.Path == "/replica" && r.URL.Query().Get("lag") == "16MB" && replica {
			return // 200
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-served })
}

// recovering asks the server whether it is a replica, as Patroni does.
func (n *node) recovering() (bool, error) {
	c, err := startSession("unix", n.socket())
	if err != nil {
		return false, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "Q\x00\x00\x00\x1fSELECT pg_is_in_recovery()\x00"); err != nil {
		return false, err
	}
	answer, err := readUntil(c, "Z\x00\x00\x00\x05I")
	// A row with one column, which has one byte.
	return strings.Contains(answer, "\x00\x01\x00\x00\x00\x01t"), err
}

// TestPeerPatroniExample: Patroni moves the leader lock while the old primary still runs, as after
// a network partition. The sessions of that are reset, and the next ones are on the new primary.
func TestPeerPatroniExample(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	basebackup := testenv.NeedTool(t, "pg_basebackup")
	tools, template, owner := preparePostgres(t)
	if _, err := program(); err != nil {
		t.Fatal(err)
	}
	port, rest := strconv.Itoa(testnet.FreePort(t)), strconv.Itoa(testnet.FreePort(t))
	hosts := []string{"127.0.0.11", "127.0.0.12"}
	nodes := []*node{{tools: tools}, {tools: tools}}

	dir := postgresDir(t, owner)
	command{argv: []string{"cp", "-a", template, filepath.Join(dir, "data")}, user: owner}.run(t)
	nodes[0].start(t, owner, dir, hosts[0], port)
	nodes[0].locked.Store(true)
	tools.sql(t, hosts[0], port, "CREATE TABLE kept (x int)")
	dir = postgresDir(t, owner)
	command{argv: []string{basebackup, "-h", hosts[0], "-p", port, "-U", "postgres", "-D", filepath.Join(dir, "data"), "-R", "-c", "fast", "--no-sync"}, dir: dir, user: owner}.run(t)
	nodes[1].start(t, owner, dir, hosts[1], port)
	for i, n := range nodes {
		n.serveREST(t, hosts[i], rest)
	}

	p := startProxy(t, "epoll", example(t, "patroni.yaml", ":5000", "127.0.0.1:0", ":5001", "127.0.0.1:0", "8008", rest,
		"10.40.0.11:5432", hosts[0]+":"+port, "10.40.0.12:5432", hosts[1]+":"+port, "10.40.0.13:5432", "127.0.0.13:"+port))
	primary, replicas := p.port(t, "primary"), p.port(t, "replicas")
	p.says(t, &p.stderr, `"backend up","pool":"primary","backend":"`+hosts[0])
	p.says(t, &p.stderr, `"backend down","pool":"primary","backend":"`+hosts[1])
	p.says(t, &p.stderr, `"backend up","pool":"replicas","backend":"`+hosts[1])
	p.says(t, &p.stderr, `"backend down","pool":"replicas","backend":"`+hosts[0])

	const where = "SELECT inet_server_addr(), pg_is_in_recovery()"
	if got := tools.sql(t, "127.0.0.1", primary, "INSERT INTO kept VALUES (7); "+where); got != hosts[0]+"|f" {
		t.Fatalf("the primary is %s", got)
	}
	if got := tools.sql(t, "127.0.0.1", replicas, where); got != hosts[1]+"|t" {
		t.Fatalf("the replica is %s", got)
	}
	session, err := startSession("tcp", net.JoinHostPort("127.0.0.1", primary))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	testnet.Eventually(t, "the replica has the row", func() bool {
		return tools.sql(t, hosts[1], port, "SELECT count(*) FROM kept") == "1"
	})

	nodes[0].locked.Store(false)
	tools.sql(t, hosts[1], port, "SELECT pg_promote()")
	nodes[1].locked.Store(true)
	wantReset(t, session)
	var out string
	testnet.Eventually(t, "clients reach the new primary", func() bool {
		var err error
		out, _, err = tools.psqlAt("127.0.0.1", primary, "-c", "INSERT INTO kept VALUES (8); SELECT sum(x) FROM kept; "+where).try()
		return err == nil
	})
	if out != "15\n"+hosts[1]+"|f\n" {
		t.Errorf("the new primary says %q", out)
	}
	p.end(t, syscall.SIGTERM)
}

// startSession is a session of PostgreSQL's protocol that is ready for a query (protocol-flow,
// Start-up): the server says so with the message Z.
func startSession(network, address string) (testnet.Conn, error) {
	c, err := testnet.TryDial(network, address)
	if err != nil {
		return nil, err
	}
	message := "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
	if _, err = c.Write(append([]byte{0, 0, 0, byte(4 + len(message))}, message...)); err == nil {
		_, err = readUntil(c, "Z\x00\x00\x00\x05I")
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// readUntil reads until the text has come.
func readUntil(c net.Conn, text string) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var all bytes.Buffer
	chunk := make([]byte, 4096)
	for !strings.Contains(all.String(), text) {
		n, err := c.Read(chunk)
		all.Write(chunk[:n])
		if err != nil {
			return all.String(), fmt.Errorf("%w after %q, want %q", err, all.String(), text)
		}
	}
	return all.String(), nil
}

// TestPeerSentinelExample: the master hangs, so that its clients would wait forever. Sentinel makes
// the replica the master; the clients are reset and reach that one.
func TestPeerSentinelExample(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	server := testenv.NeedTool(t, "redis-server")
	if _, err := program(); err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(testnet.FreePort(t))
	hosts := []string{"127.0.0.11", "127.0.0.12"}
	start := func(host string, more ...string) *process {
		argv := []string{server, "--port", port, "--bind", host, "--dir", tempDir(t), "--save", "", "--repl-diskless-sync-delay", "0"}
		p := command{argv: append(argv, more...)}.start(t)
		p.says(t, &p.stdout, "Ready to accept connections")
		return p
	}
	master := start(hosts[0])
	replica := start(hosts[1], "--replicaof", hosts[0]+" "+port, "--replica-announce-ip", hosts[1])
	replica.says(t, &replica.stdout, "MASTER <-> REPLICA sync: Finished with success")
	file := filepath.Join(tempDir(t), "sentinel.conf")
	writeFile(t, file, fmt.Appendf(nil, "port %d\nbind 127.0.0.1\nsentinel monitor m %s %s 1\nsentinel down-after-milliseconds m 500\n"+
		"sentinel failover-timeout m 3000\n", testnet.FreePort(t), hosts[0], port), 0o644)
	sentinel := command{argv: []string{server, file, "--sentinel"}}.start(t)
	sentinel.says(t, &sentinel.stdout, `\+slave slave`)

	p := startProxy(t, "epoll", example(t, "sentinel.yaml", ":6379\"\n", "127.0.0.1:0\"\n",
		"10.50.0.11:6379", hosts[0]+":"+port, "10.50.0.12:6379", hosts[1]+":"+port, "10.50.0.13:6379", "127.0.0.13:"+port))
	address := p.address(t, "redis")
	p.says(t, &p.stderr, `"backend down","pool":"master","backend":"`+hosts[1])
	client := testnet.Dial(t, "tcp", address)
	askMaster(t, client)

	// It cannot end at a signal while it is stopped, so it continues before the test ends it.
	if err := syscall.Kill(master.pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(master.pid(), syscall.SIGCONT) })
	wantReset(t, client)
	sentinel.says(t, &sentinel.stdout, `\+switch-master`)
	p.says(t, &p.stderr, `"backend up","pool":"master","backend":"`+hosts[1])
	next := testnet.Dial(t, "tcp", address)
	askMaster(t, next)
	p.end(t, syscall.SIGTERM)
}

// askMaster writes, which only a master allows.
func askMaster(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, "SET key value\r\nROLE\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := readUntil(c, "+OK\r\n*3\r\n$6\r\nmaster\r\n"); err != nil {
		t.Error(err)
	}
}
