package peers

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// postgresTools are the paths of PostgreSQL's programs.
type postgresTools struct{ initdb, postgres, pgbench, psql string }

// preparePostgres finds the programs, and makes a data directory for servers to copy. It belongs to
// owner, because PostgreSQL refuses to run as root.
func preparePostgres(t *testing.T) (tools postgresTools, template string, owner *syscall.Credential) {
	t.Helper()
	tools = postgresTools{
		testenv.NeedTool(t, "initdb"), testenv.NeedTool(t, "postgres"),
		testenv.NeedTool(t, "pgbench"), testenv.NeedTool(t, "psql"),
	}
	owner = postgresUser(t)
	template = filepath.Join(postgresDir(t, owner), "data")
	command{
		argv: []string{tools.initdb, "-D", template, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"},
		dir:  filepath.Dir(template), user: owner,
	}.run(t)
	return tools, template, owner
}

// postgres is a running server with its own data directory.
type postgres struct {
	*process
	dir  string // of its unix socket, and of its data
	port string
}

// postgresUser is the user that runs the servers, which refuse to run as root.
func postgresUser(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err) // Debian's package creates it
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32) // numbers on every Unix (os/user)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// postgresDir returns a temporary directory that the servers' user owns.
func postgresDir(t testing.TB, owner *syscall.Credential) string {
	t.Helper()
	dir := tempDir(t)
	if owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startPostgres runs a server on a copy of the data directory template.
func startPostgres(t testing.TB, tools postgresTools, template string, owner *syscall.Credential, more ...string) *postgres {
	t.Helper()
	dir := postgresDir(t, owner)
	data := filepath.Join(dir, "data")
	command{argv: []string{"cp", "-a", template, data}, user: owner}.run(t)
	port := strconv.Itoa(testnet.FreePort(t))
	p := command{
		argv: append([]string{
			tools.postgres, "-D", data, "-c", "port=" + port, "-c", "listen_addresses=127.0.0.1",
			"-c", "unix_socket_directories=" + dir, "-c", "max_connections=20", "-c", "shared_buffers=32MB",
			// A killed server leaves its files in /dev/shm.
			"-c", "dynamic_shared_memory_type=mmap",
			"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "max_wal_size=2GB", "-c", "autovacuum=off",
		}, more...),
		dir: dir, user: owner,
		stop: syscall.SIGINT, // "fast": SIGTERM would wait for clients
	}.start(t)
	p.says(t, &p.stderr, "database system is ready to accept connections")
	return &postgres{process: p, dir: dir, port: port}
}

// socket returns the path of the server's unix socket, by libpq's convention.
func (s *postgres) socket() string { return filepath.Join(s.dir, ".s.PGSQL."+s.port) }

// kill kills the server and the backend process of one session, like a crash.
func (s *postgres) kill(t testing.TB, session int) {
	t.Helper()
	// Line 7 of postmaster.pid names the System V segment that protects the data from a second
	// server. A killed server leaves it behind.
	lock, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if !s.ended() {
		t.Fatal("PostgreSQL survives SIGKILL")
	}
	if err := syscall.Kill(session, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(string(lock), "\n"); len(lines) > 6 {
		var key, id int
		if _, err := fmt.Sscan(lines[6], &key, &id); err == nil {
			if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil {
				t.Errorf("remove shared memory segment %d: %v", id, err)
			}
		}
	}
}

// sql runs statements through psql and returns the unaligned result.
func (tools postgresTools) sql(t testing.TB, host, port, statements string) string {
	t.Helper()
	return strings.TrimSpace(tools.psqlAt(host, port, "-c", statements).run(t))
}

func (tools postgresTools) psqlAt(host, port string, more ...string) command {
	argv := []string{tools.psql, "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", "postgres", "-d", "postgres"}
	return command{argv: append(argv, more...)}
}
