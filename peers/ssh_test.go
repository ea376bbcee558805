package peers

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// sshIdle is how long the interactive session is silent: longer than the second after which an idle
// loop gives memory back.
const sshIdle = 1500 * time.Millisecond

const sshdConfig = `
Port %[2]d
ListenAddress 127.0.0.1
HostKey %[1]s/host_key
AuthorizedKeysFile %[1]s/login_key.pub
PidFile none
# The keys lie in a temporary directory, which is under one that all may write to.
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
`

const sshClientConfig = `
Host proxied
	HostName 127.0.0.1
	User root
	HostKeyAlias proxied
	IdentityFile %[1]s/login_key
	IdentitiesOnly yes
	IdentityAgent none
	UserKnownHostsFile %[1]s/known_hosts
	GlobalKnownHostsFile none
	StrictHostKeyChecking yes
	BatchMode yes
	ConnectTimeout 10
	LogLevel ERROR
`

// startSSHD runs an sshd that accepts root with a generated key, and returns its port and the
// client's configuration.
func startSSHD(t testing.TB) (port int, clientConfig string) {
	t.Helper()
	testenv.NeedRoot(t) // otherwise sshd only logs in its own user
	sshd, keygen := testenv.NeedTool(t, "sshd"), testenv.NeedTool(t, "ssh-keygen")
	privilegeSeparation(t)
	dir := tempDir(t)
	for _, name := range []string{"host_key", "login_key"} {
		command{argv: []string{keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", filepath.Join(dir, name)}}.run(t)
	}
	host, err := os.ReadFile(filepath.Join(dir, "host_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "known_hosts"), append([]byte("proxied "), host...), 0o644)
	port = testnet.FreePort(t)
	server, client := filepath.Join(dir, "sshd_config"), filepath.Join(dir, "ssh_config")
	writeFile(t, server, fmt.Appendf(nil, sshdConfig, dir, port), 0o644)
	writeFile(t, client, fmt.Appendf(nil, sshClientConfig, dir), 0o644)
	p := command{argv: []string{sshd, "-D", "-e", "-f", server}}.start(t)
	p.says(t, &p.stderr, `Server listening on 127\.0\.0\.1 port `+strconv.Itoa(port))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("sshd:\n%s", p.said())
		}
	})
	return port, client
}

// privilegeSeparation creates the directory that sshd requires, at its compiled-in path, if no init
// script has created it.
func privilegeSeparation(t testing.TB) {
	t.Helper()
	const dir = "/run/sshd"
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
}

func TestPeerSSH(t *testing.T) {
	testenv.NeedSuite(t, "peers")
	ssh := testenv.NeedTool(t, "ssh")
	port, config := startSSHD(t)

	eachEngine(t, func(t *testing.T, engine string) {
		p := startProxy(t, engine, fmt.Sprintf(`
listeners:
  login: {bind: "127.0.0.1:0", pool: ssh}
  bulk: {bind: "127.0.0.1:0", pool: ssh}
  idle: {bind: "127.0.0.1:0", pool: ssh}
pools:
  ssh: {backends: ["127.0.0.1:%d"]}
`, port))
		at := func(listener string, more ...string) []string {
			return append([]string{ssh, "-F", config, "-p", p.port(t, listener), "proxied"}, more...)
		}

		if out := (command{argv: at("login", "echo", "in:", "$USER"), stdin: bytes.NewReader(nil)}).run(t); out != "in: root\n" {
			t.Errorf("login: %q", out)
		}

		session := command{argv: at("idle", "sh")}.start(t)
		session.typed(t, "echo first: $((6 * 7))")
		session.says(t, &session.stdout, `^first: 42$`)
		silence := time.After(sshIdle)

		const size = 20 << 20
		data := noise(4, size)
		echo := newDigest()
		command{argv: at("bulk", "cat"), stdin: bytes.NewReader(data), stdout: echo}.run(t)
		if echo.n != size || echo.sum() != sha256Of(data) {
			t.Errorf("cat: %d bytes with SHA-256 %s, want %d with %s", echo.n, echo.sum(), size, sha256Of(data))
		}

		<-silence // not a wait for an event: the test is about silence
		session.typed(t, "echo second: $((6 * 9))")
		session.says(t, &session.stdout, `^second: 54$`)
		session.typed(t, "exit 7")
		if !session.ended() || session.cmd.ProcessState.ExitCode() != 7 {
			t.Errorf("the session: %v, want exit status 7\n%s", session.cmd.ProcessState, session.said())
		}

		all := p.stop(t)
		for _, listener := range []string{"login", "bulk", "idle"} {
			// The client sends a disconnect message before it closes (RFC 4253 section 11.1).
			all.of(listener).ended(t, listener, 1, "closed client", "closed backend")
		}
		in, out := all.of("bulk").bytes()
		within(t, "bytes in of cat", in, size, size+size/20)
		within(t, "bytes out of cat", out, size, size+size/20)
		for _, c := range all.of("idle") {
			if c.Duration < sshIdle.Seconds() {
				t.Errorf("the idle session lasted %v s, want at least %v", c.Duration, sshIdle)
			}
		}
	})
}
